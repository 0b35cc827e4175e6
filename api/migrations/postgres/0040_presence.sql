-- Who sees whether somebody is here.

-- Of each pair, whether the asker sees it of the person: of oneself always; of others never where one of the two has blocked the
-- other, where the person does not show it, or is erased; else where both take part in a conversation. Staff and services
-- (`p_trusted`) need share none.
create function carillon_sees_presence(p_askers text[], p_trusted boolean[], p_people text[]) returns boolean[]
language sql stable security definer set search_path = pg_catalog, public, pg_temp as $$
    select array_agg(
        asked.asker = asked.person or (
            coalesce((select s.presence from privacy_settings s where s.user_id = asked.person), true)
            and not exists (select from users u where u.id = asked.person and u.erased_at is not null)
            and not exists (select from user_blocks b where b.user_id = asked.asker and b.blocked_id = asked.person)
            and not exists (select from user_blocks b where b.user_id = asked.person and b.blocked_id = asked.asker)
            and (asked.trusted or exists (
                select from conversation_participants mine
                join conversation_participants theirs on theirs.conversation_id = mine.conversation_id
                where mine.user_id = asked.asker and mine.left_at is null
                    and theirs.user_id = asked.person and theirs.left_at is null
            ))
        )
    order by asked.ordinal)
    from unnest(p_askers, p_trusted, p_people) with ordinality asked (asker, trusted, person, ordinal)
$$;

select carillon_hand_over();

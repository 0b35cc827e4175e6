-- Whom messages call. It is said beside the text and never read out of it.
--
-- A refusal beside those of 0002_functions.sql; its text is who it is about: CA016 mentions somebody who takes no part

select carillon_guard('message_mentions');
create policy readers on message_mentions for select to carillon_app using (carillon_sees(message_id));

grant select on message_mentions, mention_counts to carillon_app;
grant select on mention_counts to carillon_definer;

-- Lets a message call these and nobody else; answers whether it called others before. The caller holds everyone in the
-- conversation.
create function carillon_mention(p_message uuid, p_mentions text[]) returns boolean
language plpgsql volatile security definer set search_path = pg_catalog, public, pg_temp as $$
declare
    place    messages := (select m from messages m where m.id = p_message);
    stranger text;
    changed  boolean;
begin
    select asked.id into stranger from unnest(p_mentions) asked (id)
    where asked.id <> '*' and not exists (
        select from conversation_participants p
        where p.conversation_id = place.conversation_id and p.user_id = asked.id and p.left_at is null
    )
    order by asked.id collate "C" limit 1;
    if found then
        raise exception '%', stranger using errcode = 'CA016';
    end if;
    delete from message_mentions x where x.message_id = p_message and x.user_id <> all (p_mentions);
    changed := found;
    insert into message_mentions (message_id, user_id, conversation_id, seq)
    select p_message, asked.id, place.conversation_id, place.seq from unnest(p_mentions) asked (id)
    on conflict do nothing;
    return changed or found;
end $$;

select carillon_hand_over();
-- Call anybody: only for the functions that have checked.
revoke execute on function carillon_mention(uuid, text[]) from carillon_app;

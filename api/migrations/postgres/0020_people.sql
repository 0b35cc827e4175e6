-- What is known of people. Services say it; the people and those who share a conversation with them are told.

create view user_rows with (security_invoker = true) as
select
    id, role, name, avatar_url, email, locale, time_zone, version, carillon_micros(updated_at) as updated_at,
    carillon_micros(erased_at) as erased_at,
    case when banned_at is not null and (ban_expires_at is null or ban_expires_at > clock_timestamp()) then
        jsonb_build_object(
            'reason', ban_reason, 'banned_at', carillon_micros(banned_at), 'expires_at', carillon_micros(ban_expires_at),
            'banned_by', banned_by
        )
    end as ban
from users;

grant select on user_rows to carillon_definer;

-- Whether two people are in the same conversation.
create function carillon_share_a_conversation(p_one text, p_other text) returns boolean
language sql stable security definer set search_path = pg_catalog, public, pg_temp as $$
    select exists (
        select from conversation_participants one
        join conversation_participants other using (conversation_id)
        where one.user_id = p_one and one.left_at is null and other.user_id = p_other and other.left_at is null
    )
$$;

-- One person as the caller sees them: everything to who sees all, and to themselves but for who banned them, what is public to
-- those who share a conversation with them, nobody to all others. Somebody of whom nothing is known yet has an id and nothing
-- else.
create function carillon_user(p_caller text, p_sees_all boolean, p_id text) returns setof jsonb
language plpgsql stable security definer set search_path = pg_catalog, public, pg_temp as $$
declare
    known jsonb := (select to_jsonb(u) from user_rows u where u.id = p_id);
begin
    if p_caller = p_id or p_sees_all then
        if known is not null or p_caller = p_id
            or exists (select from conversation_participants p where p.user_id = p_id) then
            known := case when p_sees_all then known else known #- '{ban,banned_by}' end;
            return next coalesce(known, jsonb_build_object('id', p_id));
        end if;
    elsif carillon_share_a_conversation(p_caller, p_id) then
        return next coalesce(known - 'email' - 'ban', jsonb_build_object('id', p_id));
    end if;
end $$;

-- The feeds of those whom a person's profile concerns: their own, and those of at most so many others who are with them in the
-- conversations last active. Everybody else finds it when they look.
create function carillon_circle(p_user text, p_most bigint) returns text[]
language sql volatile security definer set search_path = pg_catalog, public, pg_temp as $$
    with places as (
        select p.conversation_id, coalesce(c.last_message_at, c.created_at) as active_at
        from conversation_participants p join conversations c on c.id = p.conversation_id
        where p.user_id = p_user and p.left_at is null
        order by active_at desc limit p_most
    ), others as (
        select o.user_id from places join conversation_participants o using (conversation_id)
        where o.user_id <> p_user and o.left_at is null
        group by o.user_id order by max(places.active_at) desc, o.user_id limit p_most
    )
    select array_agg('user:' || t.user_id order by t.user_id)
    from (select p_user as user_id union all select o.user_id from others o) t
$$;

-- Keeps what a service says of a person, all of it at once, and tells whom it concerns; nobody if it says nothing new.
create function carillon_put_user(p_id text, p_role text, p_profile jsonb, p_most bigint, p_trace uuid)
returns table (created boolean, person jsonb, life bigint, channels text[], seqs bigint[], unread bigint[], at bigint)
language plpgsql volatile security definer set search_path = pg_catalog, public, pg_temp as $$
declare
    moment timestamptz;
begin
    insert into users (id, role, seen_at) values (p_id, coalesce(p_role, 'guest'), clock_timestamp()) on conflict do nothing;
    perform from users u where u.id = p_id for no key update;
    if exists (select from users u where u.id = p_id and u.erased_at is not null) then
        raise exception '%', p_id using errcode = 'CAP08';
    end if;
    moment := clock_timestamp();
    update users u set
        role = coalesce(p_role, u.role), name = p_profile ->> 'name', avatar_url = p_profile ->> 'avatar_url',
        email = p_profile ->> 'email', locale = p_profile ->> 'locale', time_zone = p_profile ->> 'time_zone',
        version = u.version + 1, updated_at = moment
    where u.id = p_id and (
        u.updated_at is null
        or (u.role, u.name, u.avatar_url, u.email, u.locale, u.time_zone) is distinct from (
            coalesce(p_role, u.role), p_profile ->> 'name', p_profile ->> 'avatar_url',
            p_profile ->> 'email', p_profile ->> 'locale', p_profile ->> 'time_zone'
        )
    );
    if not found then
        return query select false, to_jsonb(u), null::bigint, null::text[], null::bigint[], null::bigint[], null::bigint
            from user_rows u where u.id = p_id;
        return;
    end if;
    return query
        select true, (select to_jsonb(u) from user_rows u where u.id = p_id), e.life, e.channels, e.seqs, e.unread, e.at
        from carillon_enter(carillon_circle(p_id, p_most), 'user.updated', null, null, p_id, p_trace, moment) e;
end $$;

select carillon_hand_over();
-- Who knows whom: only for the functions that have checked.
revoke execute on function carillon_share_a_conversation(text, text), carillon_circle(text, bigint) from carillon_app;

-- Changes of conversations, of who is in them, and of what each person sets for themselves.

-- Takes a conversation and everyone in it, in the order of all locks. `manages`: the caller sees all, owns it, is its staff, or
-- takes part while nobody owns it.
create function carillon_take_conversation(
    p_caller text, p_sees_all boolean, p_id uuid, out place conversations, out takes_part boolean, out manages boolean
)
language plpgsql volatile security definer set search_path = pg_catalog, public, pg_temp as $$
declare
    led boolean;
begin
    perform carillon_refuse_banned(p_caller);
    select c.* into place from conversations c where c.id = p_id for no key update;
    if place.id is null then
        raise exception 'no such conversation' using errcode = 'CA001';
    end if;
    select bool_or(held.user_id = p_caller), bool_or(held.role = 'owner'),
        bool_or(held.user_id = p_caller and held.role in ('owner', 'staff'))
    into takes_part, led, manages
    from (
        select p.user_id, p.role from conversation_participants p
        where p.conversation_id = p_id and p.left_at is null order by p.user_id for no key update
    ) held;
    takes_part := coalesce(takes_part, false);
    if not takes_part and not p_sees_all then
        raise exception 'no such conversation' using errcode = 'CA001';
    end if;
    manages := coalesce(manages, false) or p_sees_all or (takes_part and not coalesce(led, false));
end $$;

-- Tells these feeds that a conversation has changed; nobody if it has not.
create function carillon_tell_conversation(
    p_changed boolean, p_kind text, p_id uuid, p_user text, p_channels text[], p_trace uuid
)
returns table (
    created boolean, conversation jsonb, life bigint, channels text[], seqs bigint[], unread bigint[], at bigint
)
language plpgsql volatile security definer set search_path = pg_catalog, public, pg_temp as $$
begin
    if not p_changed then
        return query select false, (select to_jsonb(c) from conversation_rows c where c.id = p_id), null::bigint,
            null::text[], null::bigint[], null::bigint[], null::bigint;
        return;
    end if;
    return query
        select true, (select to_jsonb(c) from conversation_rows c where c.id = p_id), e.life, e.channels, e.seqs, e.unread, e.at
        from carillon_enter(p_channels, p_kind, p_id, null, p_user, p_trace, clock_timestamp()) e;
end $$;

-- Changes what everyone in a conversation sees of it: those of `subject`, `status` and `metadata` that are in `p_changes`.
create function carillon_update_conversation(p_caller text, p_sees_all boolean, p_id uuid, p_changes jsonb, p_trace uuid)
returns table (
    created boolean, conversation jsonb, life bigint, channels text[], seqs bigint[], unread bigint[], at bigint
)
language plpgsql volatile security definer set search_path = pg_catalog, public, pg_temp as $$
declare
    held record;
    changed boolean;
begin
    select * into held from carillon_take_conversation(p_caller, p_sees_all, p_id);
    if p_changes ? 'status' and p_changes ->> 'status' <> (held.place).status and not held.manages then
        raise exception 'not theirs' using errcode = 'CA009';
    end if;
    update conversations c set
        subject = case when p_changes ? 'subject' then p_changes ->> 'subject' else c.subject end,
        status = coalesce(p_changes ->> 'status', c.status),
        metadata = coalesce(p_changes -> 'metadata', c.metadata),
        version = c.version + 1
    where c.id = p_id and (
        (p_changes ? 'subject' and c.subject is distinct from p_changes ->> 'subject')
        or (p_changes ? 'status' and c.status <> p_changes ->> 'status')
        or (p_changes ? 'metadata' and c.metadata <> p_changes -> 'metadata')
    );
    changed := found;
    return query select * from carillon_tell_conversation(
        changed, 'conversation.updated', p_id, p_caller, carillon_channels_of(p_id), p_trace);
end $$;

-- Brings somebody into a conversation, takes them out of it, or gives them another role in it. Who comes finds everything read;
-- who leaves has nothing unread, and is told with the others.
create function carillon_change_member(
    p_caller text, p_sees_all boolean, p_id uuid, p_action text, p_user text, p_role text, p_most bigint, p_trace uuid
)
returns table (
    created boolean, conversation jsonb, life bigint, channels text[], seqs bigint[], unread bigint[], at bigint
)
language plpgsql volatile security definer set search_path = pg_catalog, public, pg_temp as $$
declare
    held record;
    changed boolean;
    told text[];
begin
    select * into held from carillon_take_conversation(p_caller, p_sees_all, p_id);
    if (held.place).type = 'direct' then
        raise exception 'two people' using errcode = 'CA010';
    elsif not held.manages and not (p_action = 'add' or (p_action = 'remove' and p_user = p_caller)) then
        raise exception 'not theirs' using errcode = 'CA009';
    elsif p_action = 'add' and p_role <> 'participant' and not held.manages then
        raise exception 'not theirs' using errcode = 'CA009';
    end if;
    told := carillon_channels_of(p_id);
    if p_action = 'add' then
        if (held.place).status = 'closed' then
            raise exception 'closed' using errcode = 'CA003';
        end if;
        perform carillon_refuse_erased(array[p_user]);
        insert into conversation_participants as p (
            conversation_id, user_id, role, joined_at, last_read_seq, last_delivered_seq, shows_receipts
        )
        select p_id, p_user,
            coalesce(p_role, case when u.role in ('staff', 'admin') then 'staff' else 'participant' end), clock_timestamp(),
            (held.place).last_seq, (held.place).last_seq, carillon_shows_receipts(p_user)
        from (select) one left join users u on u.id = p_user
        on conflict (conversation_id, user_id) do update set
            role = excluded.role, joined_at = excluded.joined_at, left_at = null, last_read_seq = excluded.last_read_seq,
            last_delivered_seq = excluded.last_delivered_seq, version = p.version + 1
            where p.left_at is not null;
        changed := found;
        told := carillon_channels_of(p_id);
        if changed and cardinality(told) > p_most then
            raise exception 'too many' using errcode = 'CA011';
        end if;
    elsif p_action = 'remove' then
        if p_user = (held.place).assigned_to then
            raise exception '%', p_user using errcode = 'CA014';
        end if;
        update conversation_participants p set left_at = clock_timestamp(), unread_count = 0, version = p.version + 1
        where p.conversation_id = p_id and p.user_id = p_user and p.left_at is null;
        changed := found;
        delete from thread_followers f where f.user_id = p_user and f.conversation_id = p_id;
    else
        update conversation_participants p set role = p_role, version = p.version + 1
        where p.conversation_id = p_id and p.user_id = p_user and p.left_at is null and p.role <> p_role;
        changed := found;
        if not changed and not exists (
            select from conversation_participants p
            where p.conversation_id = p_id and p.user_id = p_user and p.left_at is null
        ) then
            raise exception 'nobody' using errcode = 'CA012';
        end if;
    end if;
    if changed then
        update conversations c set version = c.version + 1 where c.id = p_id;
    end if;
    return query select * from carillon_tell_conversation(
        changed, case p_action when 'add' then 'member.added' when 'remove' then 'member.removed' else 'member.updated' end,
        p_id, p_user, told, p_trace);
end $$;

-- Makes one of the staff look after a guest's conversation, or nobody: then it waits for whoever claims it. Of those who claim it
-- at the same time, the lock lets one be the first.
create function carillon_assign(
    p_caller text, p_sees_all boolean, p_id uuid, p_action text, p_user text, p_most bigint, p_trace uuid
)
returns table (
    created boolean, conversation jsonb, life bigint, channels text[], seqs bigint[], unread bigint[], at bigint
)
language plpgsql volatile security definer set search_path = pg_catalog, public, pg_temp as $$
declare
    held record;
    moment timestamptz := clock_timestamp();
    changed boolean;
begin
    select * into held from carillon_take_conversation(p_caller, p_sees_all, p_id);
    if p_action <> 'release' then
        perform carillon_refuse_erased(array[p_user]);
    end if;
    if (held.place).type <> 'guest_staff' then
        raise exception 'of another type' using errcode = 'CA013';
    elsif (held.place).status = 'closed' then
        raise exception 'closed' using errcode = 'CA003';
    elsif p_action = 'claim' and (held.place).assigned_to <> p_user then
        raise exception '%', (held.place).assigned_to using errcode = 'CA014';
    elsif p_action = 'assign' and not exists (
        select from users u where u.id = p_user and u.role in ('staff', 'admin')
    ) then
        raise exception '%', p_user using errcode = 'CA015';
    end if;
    if p_action = 'release' then
        update conversations c set queued_at = moment, assigned_to = null, version = c.version + 1
        where c.id = p_id and c.queued_at is null;
    else
        update conversations c set queued_at = null, assigned_to = p_user, version = c.version + 1
        where c.id = p_id and c.assigned_to is distinct from p_user;
    end if;
    changed := found;
    if changed and p_action <> 'release' then
        insert into conversation_participants as p (
            conversation_id, user_id, role, joined_at, last_read_seq, last_delivered_seq, shows_receipts
        )
        values (
            p_id, p_user, 'staff', moment, (held.place).last_seq, (held.place).last_seq, carillon_shows_receipts(p_user)
        )
        on conflict (conversation_id, user_id) do update set
            role = excluded.role, joined_at = excluded.joined_at, left_at = null, last_read_seq = excluded.last_read_seq,
            last_delivered_seq = excluded.last_delivered_seq, version = p.version + 1
            where p.left_at is not null;
        if cardinality(carillon_channels_of(p_id)) > p_most then
            raise exception 'too many' using errcode = 'CA011';
        end if;
    end if;
    return query select * from carillon_tell_conversation(
        changed, case p_action when 'release' then 'conversation.queued' else 'conversation.assigned' end,
        p_id, p_user, carillon_channels_of(p_id) || carillon_staff_channels(), p_trace);
end $$;

-- Changes what only the caller sees of a conversation: those of the settings that are in `p_settings`, times in microseconds.
create function carillon_set_own(p_caller text, p_sees_all boolean, p_id uuid, p_settings jsonb, p_trace uuid)
returns table (
    created boolean, conversation jsonb, life bigint, channels text[], seqs bigint[], unread bigint[], at bigint
)
language plpgsql volatile security definer set search_path = pg_catalog, public, pg_temp as $$
declare
    changed boolean;
begin
    perform carillon_refuse_banned(p_caller);
    perform from conversation_participants p
    where p.conversation_id = p_id and p.user_id = p_caller and p.left_at is null for no key update;
    if not found then
        perform carillon_refuse_stranger(p_sees_all, p_id);
    end if;
    update conversation_participants p
    set muted_until = s.muted_until, pinned_at = s.pinned_at, archived_at = s.archived_at
    from (
        select
            case when p_settings ? 'muted_until' then carillon_moment(p_settings -> 'muted_until') else o.muted_until end
                as muted_until,
            case when p_settings ? 'pinned_at' then carillon_moment(p_settings -> 'pinned_at') else o.pinned_at end as pinned_at,
            case when p_settings ? 'archived_at' then carillon_moment(p_settings -> 'archived_at') else o.archived_at end
                as archived_at
        from conversation_participants o where o.conversation_id = p_id and o.user_id = p_caller
    ) s
    where p.conversation_id = p_id and p.user_id = p_caller
        and (p.muted_until, p.pinned_at, p.archived_at) is distinct from (s.muted_until, s.pinned_at, s.archived_at);
    changed := found;
    return query select * from carillon_tell_conversation(
        changed, 'settings.updated', p_id, p_caller, array['user:' || p_caller], p_trace);
end $$;

-- The moment of a number of microseconds since 1970; null of JSON's null. In two parts, because an interval of microseconds is
-- reckoned in floating point and the last moments of the calendar would be rounded out of it.
create function carillon_moment(p_micros jsonb) returns timestamptz language sql immutable parallel safe
    return timestamptz 'epoch' + (p_micros #>> '{}')::bigint / 1000000 * interval '1 second'
        + (p_micros #>> '{}')::bigint % 1000000 * interval '1 microsecond';

select carillon_hand_over();
-- Only for the functions that have checked.
revoke execute on function carillon_take_conversation(text, boolean, uuid),
    carillon_tell_conversation(boolean, text, uuid, text, text[], uuid) from carillon_app;

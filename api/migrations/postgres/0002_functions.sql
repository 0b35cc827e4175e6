-- What starts conversations and sends, and what the fleet asks for itself. Each is `security definer`, owned by a role that cannot log in, with a
-- pinned search_path; pods call them in autocommit, so that one round trip is one transaction and a pod that freezes holds nothing.
--
-- Locks are always taken in this order: idempotency key, conversation, participants by user, threads and who follows them, feeds by
-- channel name bytewise. Every writing function is `volatile`, so that each of its statements sees what was committed before the lock it waited for.
--
-- Refusals are SQLSTATEs of the class CA; the pods know them by code:
--   CA001 no such conversation   CA002 not a participant   CA003 closed   CA004 key reused   CA005 no such message
--   CA006 deleted   CA007 another's message   CA008 too many reactions   CA009 not theirs to change   CA010 fixed participants
--   CA011 too many participants   CA012 not in the conversation   CA013 nobody looks after such a conversation
--   CA014 somebody else looks after it   CA015 not known to work here
-- of attachments CAA01 to CAA05, in 0011_attachments.sql, of people CAP01 and on, in 0021_blocks.sql and 0022_moderation.sql, of
-- mentions CA016, in 0030_mentions.sql, of pins and forwards CA017 and CA018, in 0031_pins_and_forwards.sql, and of
-- acknowledgements CA019, in 0032_acknowledgements.sql, of what is scheduled CA020 to CA022, in 0034_schedule.sql, and of threads
-- CA023 to CA025, in 0035_threads.sql.

-- Today's epoch. Begins another one when this is no longer the server that the numbers were given by. The timeline is that of
-- the WAL being written: pg_control_checkpoint() would tell a promotion only after its first checkpoint.
create function carillon_epoch() returns bigint
language plpgsql volatile security definer set search_path = pg_catalog, public, pg_temp as $$
declare
    server   bigint := (select system_identifier from pg_control_system());
    line     text := left(pg_walfile_name(pg_current_wal_lsn()), 8);
    today    bigint;
    fresh    bigint := ('x' || left(replace(gen_random_uuid()::text, '-', ''), 12)
                        || right(replace(gen_random_uuid()::text, '-', ''), 4))::bit(64)::bigint;
begin
    select epoch into today from fleet_state where system_identifier = server and timeline = line;
    if found then
        return today;
    end if;
    -- Of those who notice at the same time, one wins the row and the others find it right.
    insert into fleet_state as s (epoch, system_identifier, timeline) values (fresh, server, line)
    on conflict (one_row) do update
        set epoch = excluded.epoch, system_identifier = excluded.system_identifier, timeline = excluded.timeline,
            began_at = now()
        where (s.system_identifier, s.timeline) is distinct from (excluded.system_identifier, excluded.timeline);
    select epoch into today from fleet_state;
    return today;
end $$;

select carillon_epoch();

-- The feeds of everyone in a conversation.
create function carillon_channels_of(p_conversation uuid) returns text[]
language sql volatile security definer set search_path = pg_catalog, public, pg_temp as $$
    select coalesce(array_agg('user:' || p.user_id order by p.user_id), '{}') from conversation_participants p
    where p.conversation_id = p_conversation and p.left_at is null
$$;

-- The feeds of everyone who works here.
create function carillon_staff_channels() returns text[] language sql immutable parallel safe
    return array['role:admin', 'role:staff'];

-- Numbers something that happened in a conversation in these feeds, and notes them in the outbox. Of messages each owner is told
-- their count of unread messages: that of the conversation, or, where the message stands in a thread alone, that of the thread
-- to those who follow it. The caller holds the conversation or the participants concerned.
create function carillon_enter(
    p_channels text[], p_kind text, p_conversation uuid, p_message uuid, p_user text, p_trace uuid, p_at timestamptz,
    out life bigint, out channels text[], out seqs bigint[], out unread bigint[], out at bigint
)
language plpgsql volatile security definer set search_path = pg_catalog, public, pg_temp as $$
declare
    counts boolean := p_kind ~ '^(new_message|message|reaction)';
    aside  uuid := (select m.thread_root_id from messages m where m.id = p_message and counts and not m.in_main_line);
begin
    select s.epoch, carillon_micros(p_at) into strict life, at from fleet_state s;
    with numbered as (
        insert into feeds as f (channel, seq)
        select c.channel, 1 from unnest(p_channels) c (channel) order by c.channel collate "C"
        on conflict (channel) do update set seq = f.seq + 1
        returning f.channel, f.seq
    ), entered as (
        insert into entries (channel, seq, kind, conversation_id, message_id, user_id, created_at, trace)
        select n.channel, n.seq, p_kind, p_conversation, p_message, p_user, p_at, p_trace from numbered n
    )
    select coalesce(array_agg(n.channel order by n.channel), '{}'), coalesce(array_agg(n.seq order by n.channel), '{}'),
        coalesce(array_agg(
            case when aside is not null then f.unread_count when counts then p.unread_count end order by n.channel
        ), '{}')
    into channels, seqs, unread
    from numbered n
    left join conversation_participants p on p.conversation_id = p_conversation and p.user_id = substr(n.channel, 6)
        and p.left_at is null and n.channel = 'user:' || p.user_id
    left join thread_followers f on f.root_id = aside and f.user_id = p.user_id;
    -- Of a conversation that everybody has left there is nobody to tell.
    if cardinality(channels) > 0 then
        insert into outbox (channels, seqs, epoch, created_at) values (channels, seqs, life, p_at);
    end if;
end $$;

-- Claims a path's key for what the caller is about to make. Answers what the key made before; null if there is no key, or
-- it is new.
create function carillon_claim_key(p_caller text, p_path text, p_key text, p_hash bytea, p_id uuid) returns uuid
language plpgsql volatile security definer set search_path = pg_catalog, public, pg_temp as $$
declare
    first idempotency_keys;
begin
    if p_key is null then
        return null;
    end if;
    -- Waits for whoever holds the key, and finds what they made.
    insert into idempotency_keys (caller, path, key, body_hash, result_id)
    values (p_caller, p_path, p_key, p_hash, p_id) on conflict do nothing;
    if found then
        return null;
    end if;
    select * into strict first from idempotency_keys k where k.caller = p_caller and k.path = p_path and k.key = p_key;
    if first.body_hash <> p_hash then
        raise exception 'the key was used for another body' using errcode = 'CA004';
    end if;
    return first.result_id;
end $$;

-- Makes a message of a draft, or answers the first one of its keys: the sender's own (`p_key`), or the request's (`p_once`).
create function carillon_send(
    p_caller text, p_sees_all boolean, p_id uuid, p_conversation uuid, p_text text, p_type text,
    p_key text, p_hash bytea, p_once text, p_once_hash bytea, p_reply_to uuid, p_attachments uuid[],
    p_mentions text[], p_forwards uuid, p_priority text, p_asks boolean, p_thread uuid, p_in_main_line boolean, p_trace uuid
)
returns table (created boolean, message jsonb, life bigint, channels text[], seqs bigint[], unread bigint[], at bigint)
language plpgsql volatile security definer set search_path = pg_catalog, public, pg_temp as $$
declare
    place conversations;
    first messages;
    moment timestamptz;
    door  text := coalesce('forwards/' || p_forwards, 'messages');
    made  uuid := carillon_claim_key(p_caller, door, p_once, p_once_hash, p_id);
    takes_part boolean;
begin
    select * into place from conversations c where c.id = p_conversation for no key update;
    if not found then
        raise exception 'no such conversation' using errcode = 'CA001';
    end if;

    -- Before anything else that could refuse: a repeat succeeds whatever became of the conversation.
    if made is null and p_key is not null then
        select * into first from messages m
        where m.conversation_id = p_conversation and m.sender_id = p_caller and m.client_message_id = p_key;
        if found then
            if first.body_hash <> p_hash then
                raise exception 'the key was used for another body' using errcode = 'CA004';
            end if;
            made := first.id;
            update idempotency_keys k set result_id = made
            where k.caller = p_caller and k.path = door and k.key = p_once;
        end if;
    end if;
    if made is not null then
        return query select false, (select to_jsonb(m) from message_rows m where m.id = made), null::bigint,
            null::text[], null::bigint[], null::bigint[], null::bigint;
        return;
    end if;

    -- All rows at once and in order, the sender's among them: whoever changes several takes them in the same order.
    select bool_or(held.user_id = p_caller) into takes_part
    from (
        select p.user_id from conversation_participants p
        where p.conversation_id = p_conversation and p.left_at is null order by p.user_id for no key update
    ) held;
    if takes_part is not true then
        perform carillon_refuse_stranger(p_sees_all, p_conversation);
    end if;
    perform carillon_refuse_banned(p_caller);
    if place.status = 'closed' then
        raise exception 'closed' using errcode = 'CA003';
    end if;
    if place.direct_pair is not null then
        perform carillon_refuse_blocked(place.direct_pair);
    end if;
    if p_reply_to is not null and not exists (
        select from messages m where m.id = p_reply_to and m.conversation_id = p_conversation
    ) then
        raise exception 'no such message' using errcode = 'CA005';
    end if;
    if p_thread is not null then
        perform carillon_refuse_to_answer(p_conversation, p_thread);
    end if;

    moment := clock_timestamp();
    insert into messages (id, conversation_id, seq, sender_id, message_text, message_type, client_message_id, body_hash,
        reply_to, thread_root_id, in_main_line, priority, requires_acknowledgement, created_at)
    values (p_id, p_conversation, place.last_seq + 1, p_caller, p_text, p_type, p_key, p_hash, p_reply_to, p_thread,
        p_in_main_line, p_priority, p_asks, moment);
    update conversations c
    set last_seq = place.last_seq + 1,
        last_main_seq = case when p_in_main_line then place.last_seq + 1 else c.last_main_seq end,
        last_message_at = case when p_in_main_line then moment else c.last_message_at end
    where c.id = p_conversation;
    if cardinality(p_attachments) > 0 then
        perform carillon_attach(p_caller, p_id, p_type, p_attachments);
    end if;
    if cardinality(p_mentions) > 0 then
        perform carillon_mention(p_id, p_mentions);
    end if;
    if p_forwards is not null then
        perform carillon_forward(p_caller, p_sees_all, p_id, p_forwards);
    end if;
    if p_thread is not null then
        perform carillon_reply(p_id);
    end if;
    if p_in_main_line then
        update conversation_participants p set unread_count = p.unread_count + 1
        where p.conversation_id = p_conversation and p.user_id <> p_caller and p.left_at is null;
    end if;
    return query
        select true, (select to_jsonb(m) from message_rows m where m.id = p_id), e.life, e.channels, e.seqs, e.unread, e.at
        from carillon_enter(carillon_channels_of(p_conversation), 'new_message', p_conversation, p_id, null, p_trace, moment) e;
end $$;

-- Refuses somebody who takes no part: to one who sees all the conversation exists.
create function carillon_refuse_stranger(p_sees_all boolean, p_conversation uuid) returns void
language plpgsql volatile security definer set search_path = pg_catalog, public, pg_temp as $$
begin
    if p_sees_all and exists (select from conversations c where c.id = p_conversation) then
        raise exception 'not a participant' using errcode = 'CA002';
    end if;
    raise exception 'no such conversation' using errcode = 'CA001';
end $$;

-- Whether somebody lets others see how far they have received and read.
create function carillon_shows_receipts(p_user text) returns boolean
language plpgsql stable security definer set search_path = pg_catalog, public, pg_temp as $$
begin
    return coalesce((select s.receipts from privacy_settings s where s.user_id = p_user), true);
end $$;

-- Starts a conversation, or answers the one that the key or the pair made before.
create function carillon_create_conversation(
    p_caller text, p_role text, p_name text, p_id uuid, p_type text, p_subject text, p_metadata jsonb, p_others text[],
    p_pair text, p_key text, p_hash bytea, p_trace uuid
)
returns table (
    created boolean, conversation jsonb, life bigint, channels text[], seqs bigint[], unread bigint[], at bigint
)
language plpgsql volatile security definer set search_path = pg_catalog, public, pg_temp as $$
declare
    made  uuid := carillon_claim_key(p_caller, 'conversations', p_key, p_hash, p_id);
    moment timestamptz;
    -- Nobody of the staff starts it or is named.
    waits boolean := p_type = 'guest_staff' and p_role not in ('staff', 'admin')
        and not exists (select from users u where u.id = any (p_others) and u.role in ('staff', 'admin'));
begin
    if made is null then
        moment := clock_timestamp();
        insert into conversations (id, type, subject, metadata, direct_pair, created_by, queued_at, created_at)
        values (p_id, p_type, p_subject, p_metadata, p_pair, p_caller, case when waits then moment end, moment)
        on conflict on constraint conversations_direct_pair do nothing;
        if not found then
            select c.id into strict made from conversations c where c.direct_pair = p_pair;
            update idempotency_keys k set result_id = made
            where k.caller = p_caller and k.path = 'conversations' and k.key = p_key;
        else
            perform carillon_refuse_banned(p_caller);
            if p_pair is not null then
                perform carillon_refuse_blocked(p_pair);
            end if;
        end if;
    end if;

    if made is not null then
        return query
            select false, to_jsonb(c), null::bigint, null::text[], null::bigint[], null::bigint[], null::bigint
            from conversation_rows c where c.id = made;
        return;
    end if;

    perform carillon_refuse_erased(p_others);
    perform carillon_note_users(jsonb_build_array(jsonb_build_object('id', p_caller, 'role', p_role, 'name', p_name)));
    insert into conversation_participants (conversation_id, user_id, role, joined_at, shows_receipts)
    select p_id, o.id,
        case when o.id = p_caller then 'owner' when u.role in ('staff', 'admin') then 'staff' else 'participant' end, moment,
        carillon_shows_receipts(o.id)
    from unnest(p_caller || p_others) o (id) left join users u on u.id = o.id;
    return query
        select true, (select to_jsonb(c) from conversation_rows c where c.id = p_id),
            e.life, e.channels, e.seqs, e.unread, e.at
        from carillon_enter(
            carillon_channels_of(p_id) || case when waits then carillon_staff_channels() else '{}' end,
            'conversation.created', p_id, null, null, p_trace, moment) e;
end $$;

-- Notes who was seen with which role, by which people join conversations, and how they want to be called unless a service has
-- said it. Once a minute is often enough for the same.
create function carillon_note_users(p_users jsonb) returns void
language sql volatile security definer set search_path = pg_catalog, public, pg_temp as $$
    insert into users as known (id, role, name, seen_at)
    select u.id, u.role, u.name, clock_timestamp() from jsonb_to_recordset(p_users) u (id text, role text, name text)
    order by u.id collate "C"
    on conflict (id) do update
        set role = excluded.role, seen_at = excluded.seen_at,
            name = case when known.updated_at is null then coalesce(excluded.name, known.name) else known.name end
        where known.role <> excluded.role or known.seen_at < excluded.seen_at - interval '1 minute'
            or (known.updated_at is null and coalesce(excluded.name <> known.name, excluded.name is not null))
$$;

-- Epoch and heads of these feeds, in the order asked.
create function carillon_heads(p_channels text[], out life bigint, out seqs bigint[])
language sql stable security definer set search_path = pg_catalog, public, pg_temp as $$
    select s.epoch, (
        select array_agg(coalesce(f.seq, 0) order by asked.ordinal)
        from unnest(p_channels) with ordinality asked (channel, ordinal) left join feeds f on f.channel = asked.channel
    )
    from fleet_state s
$$;

-- Each asked feed with its head and floor (a row without seq), followed by its entries after a number, until the rows are
-- `p_most` or their texts `p_bytes`. All from the snapshot of the call.
create function carillon_differences(p_channels text[], p_after bigint[], p_most bigint, p_bytes bigint)
returns table (
    ordinal bigint, life bigint, head bigint, floor bigint, seq bigint, kind text, created_at bigint, trace uuid,
    unread bigint, left_at bigint, hidden boolean, user_id text, conversation_id uuid, conversation_version bigint,
    message jsonb, conversation jsonb, participant jsonb, follower jsonb, person jsonb,
    blocked_at bigint, report jsonb, unsent jsonb, scheduled jsonb
)
language plpgsql stable security definer set search_path = pg_catalog, public, pg_temp as $$
declare
    today bigint := (select s.epoch from fleet_state s);
    asked record;
    rows  bigint;
begin
    for asked in
        select a.channel, a.after, a.ordinal - 1 as ordinal, coalesce(f.seq, 0) as head, coalesce(f.floor, 0) as floor
        from unnest(p_channels, p_after) with ordinality a (channel, after, ordinal)
        left join feeds f on f.channel = a.channel
        order by a.ordinal
    loop
        return query select asked.ordinal, today, asked.head, asked.floor, null::bigint, null::text, null::bigint, null::uuid,
            null::bigint, null::bigint, null::boolean, null::text, null::uuid, null::bigint, null::jsonb, null::jsonb, null::jsonb,
            null::jsonb, null::jsonb, null::bigint, null::jsonb, null::jsonb, null::jsonb;
        continue when p_most <= 0 or asked.after >= asked.head;
        return query
            select asked.ordinal, null::bigint, null::bigint, null::bigint, e.seq, e.kind, carillon_micros(e.created_at), e.trace,
                case when e.aside is null then (
                    select p.unread_count from conversation_participants p
                    where e.kind ~ '^(new_message|message|reaction)' and p.conversation_id = e.conversation_id and p.left_at is null
                        and 'user:' || p.user_id = asked.channel and p.user_id = substr(asked.channel, 6)
                ) else (
                    select f.unread_count from thread_followers f
                    where e.kind ~ '^(new_message|message|reaction)' and f.root_id = e.aside
                        and 'user:' || f.user_id = asked.channel and f.user_id = substr(asked.channel, 6)
                ) end,
                (
                    select carillon_micros(p.left_at) from conversation_participants p
                    where p.conversation_id = e.conversation_id
                        and 'user:' || p.user_id = asked.channel and p.user_id = substr(asked.channel, 6)
                ),
                exists (
                    select from message_hides h
                    where h.message_id = e.message_id and h.user_id = substr(asked.channel, 6)
                        and 'user:' || h.user_id = asked.channel
                ),
                e.user_id, e.conversation_id, (select c.version from conversations c where c.id = e.conversation_id),
                (select to_jsonb(m) from message_rows m where m.id = e.message_id),
                (select to_jsonb(c) from conversation_rows c where e.kind like 'conversation.%' and c.id = e.conversation_id),
                (
                    select to_jsonb(p) from participant_rows p
                    where p.conversation_id = e.conversation_id and p.user_id = e.user_id
                ),
                (
                    select f.json from follower_rows f
                    where e.kind like 'thread.%' and f.root_id = e.message_id and f.user_id = e.user_id
                ),
                (select to_jsonb(u) from user_rows u where e.kind ~ '^(user|account)\.' and u.id = e.user_id),
                (
                    select carillon_micros(b.created_at) from user_blocks b
                    where e.kind = 'blocks.updated' and b.user_id = substr(asked.channel, 6) and b.blocked_id = e.user_id
                ),
                (
                    select to_jsonb(r) from report_rows r
                    where e.kind like 'report.%' and r.message_id = e.message_id and r.reporter_id = e.user_id
                ),
                (
                    select to_jsonb(u) from unsent_rows u
                    where e.kind like 'draft.%' and u.conversation_id = e.conversation_id and u.user_id = e.user_id
                ),
                (select to_jsonb(s) from scheduled_rows s where e.kind like 'scheduled\_%' and s.id = e.message_id)
            from (
                select n.*, sum(octet_length(m.message_text)) over (
                    order by n.seq rows between unbounded preceding and 1 preceding
                ) as bytes_before,
                    case when not m.in_main_line then m.thread_root_id end as aside
                from (
                    select * from entries x where x.channel = asked.channel and x.seq > asked.after
                    order by x.seq limit p_most
                ) n
                left join messages m on m.id = n.message_id
            ) e
            where coalesce(e.bytes_before, 0) <= p_bytes
            order by e.seq;
        get diagnostics rows = row_count;
        p_most := p_most - rows;
    end loop;
end $$;

-- What stands where for devices that connect, in the order asked: the three feeds, and what device or user acknowledged.
create function carillon_standings(p_users text[], p_roles text[], p_devices text[])
returns table (
    epoch bigint, user_head bigint, role_head bigint, all_head bigint, user_floor bigint, role_floor bigint, all_floor bigint,
    stored_epoch bigint, stored_role text, stored_user_seq bigint, stored_role_seq bigint, stored_all_seq bigint,
    user_seen boolean, is_banned boolean, is_erased boolean
)
language sql stable security definer set search_path = pg_catalog, public, pg_temp as $$
    select s.epoch, coalesce(u.seq, 0), coalesce(r.seq, 0), coalesce(a.seq, 0),
        coalesce(u.floor, 0), coalesce(r.floor, 0), coalesce(a.floor, 0),
        mine.epoch, mine.role, mine.user_seq, mine.role_seq, mine.all_seq,
        exists (select from acknowledgements k where k.user_id = asked.user_id and k.device_id = ''),
        exists (
            select from users u
            where u.id = asked.user_id and u.banned_at is not null
                and (u.ban_expires_at is null or u.ban_expires_at > clock_timestamp())
        ),
        exists (select from users u where u.id = asked.user_id and u.erased_at is not null)
    from unnest(p_users, p_roles, p_devices) with ordinality asked (user_id, role, device_id, ordinal)
    cross join fleet_state s
    left join feeds u on u.channel = 'user:' || asked.user_id
    left join feeds r on r.channel = 'role:' || asked.role
    left join feeds a on a.channel = 'all'
    left join lateral (
        -- The device's position, or else that of the user as a whole, whose device is ''.
        select * from acknowledgements k where k.user_id = asked.user_id and k.device_id in ('', asked.device_id)
        order by k.device_id desc limit 1
    ) mine on true
    order by asked.ordinal
$$;

-- Moves positions forwards, never beyond the heads, and only those of today's epoch. `p_only_new`: leaves known ones alone.
create function carillon_advance(p_positions jsonb, p_only_new boolean) returns void
language sql volatile security definer set search_path = pg_catalog, public, pg_temp as $$
    insert into acknowledgements as known (user_id, device_id, epoch, role, user_seq, role_seq, all_seq, moved_at)
    select p.user_id, p.device_id, p.epoch, p.role,
        -- One head each, which is looked up: for a join of few with all feeds there would be a way through them.
        least(p.user_seq, coalesce((select f.seq from feeds f where f.channel = 'user:' || p.user_id), 0)),
        least(p.role_seq, coalesce((select f.seq from feeds f where f.channel = 'role:' || p.role), 0)),
        least(p.all_seq, coalesce((select f.seq from feeds f where f.channel = 'all'), 0)), clock_timestamp()
    from jsonb_to_recordset(p_positions) p
        (user_id text, device_id text, epoch bigint, role text, user_seq bigint, role_seq bigint, all_seq bigint)
    join fleet_state s on s.epoch = p.epoch
    order by p.user_id collate "C", p.device_id collate "C"
    on conflict (user_id, device_id) do update set
        user_seq = case when known.epoch = excluded.epoch
            then greatest(known.user_seq, excluded.user_seq) else excluded.user_seq end,
        role_seq = case when known.epoch = excluded.epoch and known.role = excluded.role
            then greatest(known.role_seq, excluded.role_seq) else excluded.role_seq end,
        all_seq = case when known.epoch = excluded.epoch
            then greatest(known.all_seq, excluded.all_seq) else excluded.all_seq end,
        epoch = excluded.epoch, role = excluded.role, moved_at = excluded.moved_at
        where not p_only_new and (
            (known.epoch, known.role) is distinct from (excluded.epoch, excluded.role)
            or excluded.user_seq > known.user_seq or excluded.role_seq > known.role_seq
            or excluded.all_seq > known.all_seq
        )
$$;

-- The heads of all feeds that the outbox names. Rows of another epoch are moot: everybody starts anew.
create function carillon_recent_heads(out life bigint, out channels text[], out seqs bigint[])
language sql stable security definer set search_path = pg_catalog, public, pg_temp as $$
    select s.epoch, coalesce(h.channels, '{}'), coalesce(h.seqs, '{}')
    from fleet_state s
    cross join (
        select array_agg(n.channel) as channels, array_agg(n.seq) as seqs
        from (
            select e.channel, max(e.seq) as seq
            from outbox o cross join unnest(o.channels, o.seqs) e (channel, seq)
            where o.epoch = (select epoch from fleet_state)
            group by e.channel
        ) n
    ) h
$$;

-- Reads the whole outbox, for the worker whose turn it is, and deletes what was first read ten seconds and 20 readings ago.
create function carillon_read_outbox(out life bigint, out channels text[], out seqs bigint[])
language plpgsql volatile security definer set search_path = pg_catalog, public, pg_temp as $$
declare
    reading bigint;
begin
    if not exists (select from outbox) then
        select h.* into life, channels, seqs from carillon_recent_heads() h;
        return;
    end if;
    update outbox_readings r set number = r.number + 1 returning r.number into reading;
    -- One statement, one snapshot: what is marked as read is what the heads are taken from.
    with marked as (
        update outbox o set first_read_at = clock_timestamp(), first_read = reading where o.first_read is null
    )
    select h.* into life, channels, seqs from carillon_recent_heads() h;
    delete from outbox where first_read_at <= clock_timestamp() - interval '10 s' and first_read <= reading - 20;
end $$;

-- How old the oldest row of the outbox is, in microseconds.
create function carillon_outbox_age() returns bigint
language sql stable security definer set search_path = pg_catalog, public, pg_temp as $$
    select coalesce((extract(epoch from clock_timestamp() - min(created_at)) * 1000000)::bigint, 0) from outbox
$$;

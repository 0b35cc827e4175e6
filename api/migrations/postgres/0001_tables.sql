-- The tables of PostgreSQL 15 and later. Everything stands in `public`, where the source systems look for their four tables
-- (information_schema.tables). What may be read of them is decided in 0003_row_security.sql, and written only by the
-- functions of the files beside it.

create table fleet_state (
    one_row           boolean primary key default true constraint fleet_state_has_one_row check (one_row),
    -- A random name for one life of the numbering. Another one means that numbers may have been given twice.
    epoch             bigint not null,
    -- Both change when this is no longer the server it was: a promoted standby is on a timeline of its own.
    system_identifier bigint not null,
    timeline          text not null,
    began_at          timestamptz not null default now()
);

create table users (
    id         text collate "C" primary key,
    role       text not null constraint users_role check (role in ('guest', 'staff', 'admin', 'service')),
    name       text,
    seen_at    timestamptz not null,
    avatar_url text,
    email      text,
    locale     text,
    time_zone  text,
    -- Counts the changes of what a service says of them: whoever has two of it applies the higher one.
    version    bigint not null default 0,
    -- When a service last said it. From then on a token does not change the name.
    updated_at timestamptz,
    -- They may do nothing from then on, until it ends if it does.
    banned_at      timestamptz,
    ban_expires_at timestamptz,
    ban_reason     text,
    banned_by      text collate "C",
    -- They and what they wrote are gone. The id stays: nobody else gets it.
    erased_at      timestamptz,
    constraint users_ban check (banned_at is not null or (ban_expires_at is null and ban_reason is null and banned_by is null))
);

create table conversations (
    id              uuid primary key,
    type            text not null
        constraint conversations_type check (type in ('guest_staff', 'staff_staff', 'guest_guest', 'direct', 'group')),
    status          text not null default 'active'
        constraint conversations_status check (status in ('active', 'archived', 'closed')),
    subject         text,
    metadata        jsonb not null default '{}',
    -- Both people of a `direct`, the lower id first: whoever comes second finds the first.
    direct_pair     text collate "C" constraint conversations_direct_pair unique,
    created_by      text collate "C" not null,
    -- Of a guest's conversation with the staff: since when it waits for a colleague, or who looks after it.
    queued_at       timestamptz,
    assigned_to     text collate "C",
    -- The number of the newest message; the next one is given under the lock of this row.
    last_seq        bigint not null default 0,
    -- The number of the newest message that stands in its main line, and not in a thread alone.
    last_main_seq   bigint not null default 0,
    -- Counts the changes of the conversation, of who is in it among them.
    version         bigint not null default 1,
    last_message_at timestamptz,
    created_at      timestamptz not null,
    constraint conversations_queue check (queued_at is null or assigned_to is null)
    -- Room on each page lets updates stay beside the row they replace, and out of the indexes.
) with (fillfactor = 80);

create index conversations_queued on conversations (id) where queued_at is not null;
create index conversations_by_assignee on conversations (assigned_to, id) where assigned_to is not null;

create table conversation_participants (
    conversation_id uuid not null constraint conversation_participants_conversation references conversations (id),
    user_id         text collate "C" not null,
    role            text not null
        constraint conversation_participants_role check (role in ('owner', 'participant', 'staff')),
    joined_at       timestamptz not null,
    left_at         timestamptz,
    -- Messages up to this one are read; `unread_count` is what the view `recounts` counts.
    last_read_seq   bigint not null default 0,
    last_read_at    timestamptz,
    last_delivered_seq bigint not null default 0,
    -- Whether the others see the three above.
    shows_receipts  boolean not null default true,
    unread_count    bigint not null default 0
        constraint conversation_participants_unread_count check (unread_count >= 0),
    -- Theirs alone.
    muted_until     timestamptz,
    pinned_at       timestamptz,
    archived_at     timestamptz,
    -- Counts the changes of the row that others may see: whoever has two of them applies the higher one.
    version         bigint not null default 1,
    primary key (conversation_id, user_id),
    constraint conversation_participants_markers check (0 <= last_read_seq and last_read_seq <= last_delivered_seq)
) with (fillfactor = 70);

create index conversation_participants_by_user on conversation_participants (user_id, conversation_id);

create table messages (
    id                uuid primary key,
    conversation_id   uuid not null constraint messages_conversation references conversations (id),
    seq               bigint not null constraint messages_seq_positive check (seq > 0),
    sender_id         text collate "C" not null,
    message_text      text not null,
    message_type      text not null default 'text'
        constraint messages_message_type check (message_type in ('text', 'system', 'automated', 'voice', 'file')),
    client_message_id text collate "C",
    -- SHA-256 of what the sender first sent under the key; the text may have changed since.
    body_hash         bytea,
    reply_to          uuid constraint messages_reply_to references messages (id),
    -- The message in whose thread this one stands; and whether it stands in the main line of the conversation, as all others do.
    thread_root_id    uuid constraint messages_thread_root_id references messages (id),
    in_main_line      boolean not null default true,
    -- Counts the changes of the message, its reactions among them.
    version           bigint not null default 1,
    created_at        timestamptz not null,
    edited_at         timestamptz,
    -- A deleted message keeps its row and its number; its text is gone.
    deleted_at        timestamptz,
    priority          text not null default 'normal'
        constraint messages_priority check (priority in ('normal', 'important', 'urgent')),
    -- Whether everybody else in the conversation is asked to say that they have seen it.
    requires_acknowledgement boolean not null default false,
    -- Kept at hand for everybody in the conversation, by one of them.
    pinned_at         timestamptz,
    pinned_by         text collate "C",
    -- Of what was said elsewhere: the message, who sent it and when, as it was. Its text became this one's.
    forwarded_from    jsonb,
    constraint messages_seq unique (conversation_id, seq),
    constraint messages_key_has_a_hash check ((client_message_id is null) = (body_hash is null)),
    constraint messages_pin check ((pinned_at is null) = (pinned_by is null)),
    constraint messages_stand_somewhere check (in_main_line or thread_root_id is not null)
);

create unique index messages_client_message_id on messages (conversation_id, sender_id, client_message_id)
    where client_message_id is not null;
-- A page of the main line is found however much is said in threads between.
create index messages_in_main_line on messages (conversation_id, seq) where in_main_line;
create index messages_by_thread on messages (thread_root_id, seq) where thread_root_id is not null;
create index messages_by_reply_to on messages (reply_to) where reply_to is not null;
-- What was said again of somebody's, who may want to be erased.
create index messages_by_first_sender on messages ((forwarded_from ->> 'sender_id')) where forwarded_from is not null;
create index messages_pinned on messages (conversation_id, pinned_at) where pinned_at is not null;

-- What is said to a message apart from the main line. A thread is there from its first reply on.
create table threads (
    root_id         uuid primary key constraint threads_root references messages (id),
    conversation_id uuid not null,
    -- Replies that are not deleted; and when the last one was sent, deleted or not.
    reply_count     bigint not null constraint threads_reply_count check (reply_count >= 0),
    last_reply_at   timestamptz not null,
    -- Counts the changes of the row: whoever has two of it applies the higher one.
    version         bigint not null default 1
) with (fillfactor = 70);

create index threads_by_last_reply on threads (conversation_id, last_reply_at, root_id);

-- Who wants to be told of a thread, and how far they have read it. A row can be there before the thread is.
create table thread_followers (
    root_id         uuid not null constraint thread_followers_root references messages (id),
    user_id         text collate "C" not null,
    conversation_id uuid not null,
    -- Replies up to this number are read; `unread_count` is what the view `thread_recounts` counts.
    last_read_seq   bigint not null,
    unread_count    bigint not null default 0 constraint thread_followers_unread_count check (unread_count >= 0),
    primary key (root_id, user_id)
) with (fillfactor = 70);

create index thread_followers_by_user on thread_followers (user_id, conversation_id);

-- What a message said before it was edited. Gone when it is deleted.
create table message_versions (
    message_id   uuid not null constraint message_versions_message references messages (id),
    version      bigint not null,
    message_text text not null,
    replaced_at  timestamptz not null,
    primary key (message_id, version)
);

create table message_reactions (
    message_id uuid not null constraint message_reactions_message references messages (id),
    reaction   text collate "C" not null,
    user_id    text collate "C" not null,
    created_at timestamptz not null,
    primary key (message_id, reaction, user_id)
);

-- Who has said that they have seen a message that asks for it.
create table message_acknowledgements (
    message_id uuid not null constraint message_acknowledgements_message references messages (id),
    user_id    text collate "C" not null,
    created_at timestamptz not null,
    primary key (message_id, user_id)
);

create index message_acknowledgements_in_order on message_acknowledgements (message_id, created_at, user_id);

-- Whom a message calls; `*`, which is nobody's id, is everybody in its conversation.
create table message_mentions (
    message_id      uuid not null constraint message_mentions_message references messages (id),
    user_id         text collate "C" not null,
    -- Where it stands, so that those after a marker are found at once.
    conversation_id uuid not null,
    seq             bigint not null,
    primary key (message_id, user_id)
);

create index message_mentions_by_user on message_mentions (user_id, conversation_id, seq);

-- What somebody has deleted for themselves alone.
create table message_hides (
    user_id    text collate "C" not null,
    message_id uuid not null constraint message_hides_message references messages (id),
    primary key (user_id, message_id)
);

create table message_attachments (
    id            uuid primary key,
    -- The message that brought it; nothing until one does.
    message_id    uuid constraint message_attachments_message references messages (id),
    file_name     text not null,
    file_type     text not null,
    file_size     bigint not null constraint message_attachments_file_size check (file_size > 0),
    file_url      text not null,
    created_at    timestamptz not null,
    uploader_id   text collate "C" not null,
    kind          text not null constraint message_attachments_kind check (kind in ('file', 'image', 'voice')),
    -- `expired` ones are being deleted: no message can bring them any more.
    state         text not null default 'reserved'
        constraint message_attachments_state check (state in ('reserved', 'complete', 'attached', 'expired')),
    -- Where it stands among those of its message, from 0.
    place         bigint not null default 0,
    -- In hex: what was announced, and once it is complete what was found.
    sha256        text collate "C",
    width         bigint,
    height        bigint,
    has_thumbnail boolean not null default false,
    duration_ms   bigint,
    waveform      jsonb,
    -- When it is given up, unless a message has brought it.
    expires_at    timestamptz,
    constraint message_attachments_attached check ((message_id is not null) = (state = 'attached')),
    constraint message_attachments_expiry check ((expires_at is null) = (state = 'attached'))
);

create index message_attachments_by_message on message_attachments (message_id) where message_id is not null;
create index message_attachments_by_uploader on message_attachments (uploader_id) where message_id is null;
create index message_attachments_by_expiry on message_attachments (expires_at) where expires_at is not null;

-- What messages bring that another message brought before: the same bytes, whatever becomes of that other one.
create table forwarded_attachments (
    message_id    uuid not null constraint forwarded_attachments_message references messages (id),
    attachment_id uuid not null constraint forwarded_attachments_attachment references message_attachments (id),
    place         bigint not null,
    primary key (message_id, attachment_id)
);

create index forwarded_attachments_by_attachment on forwarded_attachments (attachment_id);

-- A numbered log per channel. The row is the counter: 1, 2, 3 … without holes, because a rollback takes the number back.
-- Channel names sort bytewise everywhere: the order of locks must not depend on a locale.
create table feeds (
    channel text collate "C" primary key,
    seq     bigint not null,
    -- Entries up to this number are no longer kept.
    floor   bigint not null default 0,
    constraint feeds_floor check (floor between 0 and seq)
) with (fillfactor = 70);

-- What happened, by reference: bodies are written when they are read, as of that day. No foreign keys: feeds are written only
-- by functions, which hold the rows they refer to, and a check per entry and participant would double the cost of a send.
create table entries (
    channel         text collate "C" not null,
    seq             bigint not null,
    kind            text not null,
    -- Where, if it happened in a conversation.
    conversation_id uuid,
    message_id      uuid,
    -- Whom it is about, where it is about somebody.
    user_id         text collate "C",
    created_at      timestamptz not null,
    trace           uuid not null,
    primary key (channel, seq)
);

-- What was committed and may still have to be announced: one row per transaction. Small and short-lived, so it is vacuumed early.
create table outbox (
    id            bigint generated always as identity primary key,
    channels      text[] not null,
    seqs          bigint[] not null,
    epoch         bigint not null,
    created_at    timestamptz not null,
    -- When, and at which reading of outbox_readings, a worker first saw it.
    first_read_at timestamptz,
    first_read    bigint,
    constraint outbox_pairs check (cardinality(channels) = cardinality(seqs))
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

create index outbox_unread on outbox (id) where first_read is null;

-- Counts the readings, so that a row of the outbox is written once and not at each reading. No sequence: those skip numbers in
-- a crash, and twenty readings would be fewer.
create table outbox_readings (
    one_row boolean primary key default true constraint outbox_readings_has_one_row check (one_row),
    number  bigint not null default 0
) with (fillfactor = 10);

insert into outbox_readings default values;

-- Where devices, and users as a whole (device ''), stand: everything up to there was received.
create table acknowledgements (
    user_id   text collate "C" not null,
    device_id text collate "C" not null,
    epoch     bigint not null,
    role      text not null,
    user_seq  bigint not null,
    role_seq  bigint not null,
    all_seq   bigint not null,
    moved_at  timestamptz not null,
    primary key (user_id, device_id)
) with (fillfactor = 70);

-- The caller's key makes the same thing once at each path.
create table idempotency_keys (
    caller     text collate "C" not null,
    path       text not null,
    key        text collate "C" not null,
    body_hash  bytea not null,
    result_id  uuid not null,
    created_at timestamptz not null default now(),
    primary key (caller, path, key)
);

-- Guards against hands at the console: a number that was given stays given.
create function carillon_refuse() returns trigger language plpgsql as $$
begin
    raise exception '%', tg_argv[0];
end $$;

create trigger messages_stay before delete on messages
    for each row execute function carillon_refuse('messages are not deleted: set deleted_at');
create trigger messages_keep_their_place before update of id, conversation_id, seq, sender_id on messages
    for each row execute function carillon_refuse('a message keeps its conversation, number and sender');
create trigger feeds_stay before delete on feeds
    for each row execute function carillon_refuse('a feed is not deleted: its numbers would be given again');

-- What the pods read, under the rights of whoever asks. Times are microseconds since 1970, as in SQLite.
create function carillon_micros(timestamptz) returns bigint language sql stable parallel safe
    return (extract(epoch from $1) * 1000000)::bigint;

create view attachment_rows with (security_invoker = true) as
select
    id, message_id, file_name, file_type, file_size, file_url, uploader_id, kind, state, place, sha256, width, height,
    has_thumbnail, duration_ms, waveform, carillon_micros(expires_at) as expires_at
from message_attachments;

-- What each message brings, its own and what it forwards.
create view brought_attachments with (security_invoker = true) as
select a.message_id as brought_by, a.place as place_there, a.* from attachment_rows a where a.message_id is not null
union all
select f.message_id, f.place, a.* from forwarded_attachments f join attachment_rows a on a.id = f.attachment_id;

create view message_rows with (security_invoker = true) as
select
    id, seq, conversation_id, sender_id,
    case when deleted_at is null then message_text else '' end as message_text,
    message_type, client_message_id, reply_to, thread_root_id, in_main_line, version,
    carillon_micros(created_at) as created_at,
    carillon_micros(edited_at) as edited_at, carillon_micros(deleted_at) as deleted_at,
    (
        select jsonb_agg(
            jsonb_build_object('reaction', r.reaction, 'count', r.count, 'user_ids', r.user_ids) order by r.since, r.reaction
        )
        from (
            select x.reaction, count(*), min(x.created_at) as since,
                (array_agg(x.user_id order by x.created_at, x.user_id))[1:20] as user_ids
            from message_reactions x where x.message_id = messages.id group by x.reaction
        ) r
    ) as reactions,
    (
        select jsonb_agg(to_jsonb(a) order by a.place_there) from brought_attachments a
        where a.brought_by = messages.id and messages.deleted_at is null
    ) as attachments,
    (select jsonb_agg(x.user_id order by x.user_id) from message_mentions x where x.message_id = messages.id) as mentions,
    (
        select jsonb_build_object(
            'reply_count', t.reply_count, 'last_reply_at', carillon_micros(t.last_reply_at), 'version', t.version
        )
        -- Not `coalesce`, which PostgreSQL does not hand to an index of a table under row-level security.
        from threads t
        where t.root_id = case when messages.thread_root_id is null then messages.id else messages.thread_root_id end
    ) as thread,
    carillon_micros(pinned_at) as pinned_at, pinned_by, forwarded_from, priority, requires_acknowledgement,
    case when requires_acknowledgement then jsonb_build_object(
        'count', (select count(*) from message_acknowledgements k where k.message_id = messages.id),
        'items', (
            select coalesce(jsonb_agg(jsonb_build_object('user_id', k.user_id, 'acknowledged_at', carillon_micros(k.created_at))
                order by k.created_at, k.user_id), '[]')
            from (
                select * from message_acknowledgements o where o.message_id = messages.id
                order by o.created_at, o.user_id limit 20
            ) k
        )
    ) end as acknowledgements
from messages;

-- What is unread to whom: the one formula of all counts.
create view recounts with (security_invoker = true) as
select
    p.conversation_id, p.user_id,
    (
        select count(*) from messages m
        where m.conversation_id = p.conversation_id and m.in_main_line and m.seq > p.last_read_seq
            and m.sender_id <> p.user_id and m.deleted_at is null
            and not exists (select from message_hides h where h.user_id = p.user_id and h.message_id = m.id)
    ) as counted
from conversation_participants p;

-- What mentions people among what is unread to them: the formula of `recounts`, narrowed to what calls them.
create view mention_counts with (security_invoker = true) as
select
    p.conversation_id, p.user_id,
    (
        select count(distinct x.seq) from message_mentions x join messages m on m.id = x.message_id
        where x.user_id in (p.user_id, '*') and x.conversation_id = p.conversation_id and x.seq > p.last_read_seq
            and m.in_main_line and m.sender_id <> p.user_id and m.deleted_at is null
            and not exists (select from message_hides h where h.user_id = p.user_id and h.message_id = m.id)
    ) as mentioned
from conversation_participants p;

-- What is unread in the threads that people follow: of the same formula, what does not stand in the main line, where it counts.
-- So every message counts in one place.
create view thread_recounts with (security_invoker = true) as
select
    f.root_id, f.user_id, f.conversation_id, f.unread_count as stored,
    (
        select count(*) from messages m
        where m.thread_root_id = f.root_id and not m.in_main_line and m.seq > f.last_read_seq
            and m.sender_id <> f.user_id and m.deleted_at is null
            and not exists (select from message_hides h where h.user_id = f.user_id and h.message_id = m.id)
    ) as counted
from thread_followers f;

-- Who follows which thread, with what mentions them among what is unread to them there.
create view follower_rows with (security_invoker = true) as
select
    f.root_id, f.user_id, f.conversation_id, f.last_read_seq, f.unread_count, n.mentioned,
    jsonb_build_object(
        'root_id', f.root_id, 'user_id', f.user_id, 'conversation_id', f.conversation_id, 'last_read_seq', f.last_read_seq,
        'unread_count', f.unread_count, 'mentioned', n.mentioned
    ) as json
from thread_followers f
cross join lateral (
    -- From what is unread in the thread to whom it calls, and not the other way round: of all that calls somebody little stands in
    -- one thread. `exists` may be turned round, where nothing was analysed yet; one value for each message may not.
    select count(*) as mentioned from messages m
    where m.thread_root_id = f.root_id and not m.in_main_line and m.seq > f.last_read_seq
        and m.sender_id <> f.user_id and m.deleted_at is null
        and (select true from message_mentions x where x.message_id = m.id and x.user_id in (f.user_id, '*') limit 1)
        and not exists (select from message_hides h where h.user_id = f.user_id and h.message_id = m.id)
) n;

create view participant_rows with (security_invoker = true) as
select
    conversation_id, user_id, role, carillon_micros(joined_at) as joined_at, carillon_micros(left_at) as left_at,
    last_read_seq, carillon_micros(last_read_at) as last_read_at, last_delivered_seq, shows_receipts, version, unread_count,
    carillon_micros(muted_until) as muted_until,
    carillon_micros(pinned_at) as pinned_at, carillon_micros(archived_at) as archived_at
from conversation_participants;

create view conversation_rows with (security_invoker = true) as
select
    c.id, c.type, c.status, c.subject, c.metadata, c.last_main_seq, c.version,
    carillon_micros(c.queued_at) as queued_at, c.assigned_to,
    (
        select coalesce(jsonb_agg(to_jsonb(p) order by p.joined_at, p.user_id), '[]')
        from participant_rows p
        where p.conversation_id = c.id and p.left_at is null
    ) as participants,
    (select to_jsonb(m) from message_rows m where m.conversation_id = c.id and m.seq = c.last_main_seq) as last_message,
    carillon_micros(c.last_message_at) as last_message_at,
    carillon_micros(c.created_at) as created_at,
    coalesce(c.last_message_at, c.created_at) as active_at
from conversations c;

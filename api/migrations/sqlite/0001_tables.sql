-- The same tables as in migrations/postgres, in the types that SQLite has: ids are 16-byte blobs, times microseconds since
-- 1970, JSON is text. There is no row-level security here: one process owns the file, and its where clauses decide.

create table fleet_state (
    one_row    integer primary key constraint fleet_state_has_one_row check (one_row = 1),
    -- A random name for one life of the numbering. Another one means that numbers may have been given twice.
    epoch      integer not null,
    began_at   integer not null,
    -- Counts the readings of the outbox, so that its rows are written once and not at each reading.
    outbox_reads integer not null default 0
) strict;

insert into fleet_state (one_row, epoch, began_at) values (1, random(), cast(unixepoch('subsec') * 1000000 as integer));

create table users (
    id         text primary key,
    role       text not null constraint users_role check (role in ('guest', 'staff', 'admin', 'service')),
    name       text,
    seen_at    integer not null,
    avatar_url text,
    email      text,
    locale     text,
    time_zone  text,
    -- Counts the changes of what a service says of them: whoever has two of it applies the higher one.
    version    integer not null default 0,
    -- When a service last said it. From then on a token does not change the name.
    updated_at integer,
    -- They may do nothing from then on, until it ends if it does.
    banned_at      integer,
    ban_expires_at integer,
    ban_reason     text,
    banned_by      text,
    -- They and what they wrote are gone. The id stays: nobody else gets it.
    erased_at      integer,
    constraint users_ban check (banned_at is not null or (ban_expires_at is null and ban_reason is null and banned_by is null))
) strict, without rowid;

create table conversations (
    id              blob primary key,
    type            text not null
        constraint conversations_type check (type in ('guest_staff', 'staff_staff', 'guest_guest', 'direct', 'group')),
    status          text not null default 'active'
        constraint conversations_status check (status in ('active', 'archived', 'closed')),
    subject         text,
    metadata        text not null default '{}',
    -- Both people of a `direct`, the lower id first: whoever comes second finds the first.
    direct_pair     text constraint conversations_direct_pair unique,
    created_by      text not null,
    -- Of a guest's conversation with the staff: since when it waits for a colleague, or who looks after it.
    queued_at       integer,
    assigned_to     text,
    -- The number of the newest message; the next one is given under the lock of this row.
    last_seq        integer not null default 0,
    -- The number of the newest message that stands in its main line, and not in a thread alone.
    last_main_seq   integer not null default 0,
    -- Counts the changes of the conversation, of who is in it among them.
    version         integer not null default 1,
    last_message_at integer,
    created_at      integer not null,
    constraint conversations_queue check (queued_at is null or assigned_to is null)
) strict;

create index conversations_queued on conversations (id) where queued_at is not null;
create index conversations_by_assignee on conversations (assigned_to, id) where assigned_to is not null;

create table conversation_participants (
    conversation_id blob not null references conversations (id),
    user_id         text not null,
    role            text not null
        constraint conversation_participants_role check (role in ('owner', 'participant', 'staff')),
    joined_at       integer not null,
    left_at         integer,
    -- Messages up to this one are read; `unread_count` is what the view `recounts` counts.
    last_read_seq   integer not null default 0,
    last_read_at    integer,
    last_delivered_seq integer not null default 0,
    -- Whether the others see the three above.
    shows_receipts  integer not null default true,
    unread_count    integer not null default 0
        constraint conversation_participants_unread_count check (unread_count >= 0),
    -- Theirs alone.
    muted_until     integer,
    pinned_at       integer,
    archived_at     integer,
    -- Counts the changes of the row that others may see: whoever has two of them applies the higher one.
    version         integer not null default 1,
    primary key (conversation_id, user_id),
    constraint conversation_participants_markers check (0 <= last_read_seq and last_read_seq <= last_delivered_seq)
) strict, without rowid;

create index conversation_participants_by_user on conversation_participants (user_id, conversation_id);

-- What a person does not show. Without a row they show everything.
create table privacy_settings (
    user_id  text primary key,
    receipts integer not null default true,
    signs    integer not null default true,
    presence integer not null default true
) strict;

create table messages (
    id                blob primary key,
    conversation_id   blob not null references conversations (id),
    seq               integer not null constraint messages_seq_positive check (seq > 0),
    sender_id         text not null,
    message_text      text not null,
    message_type      text not null default 'text'
        constraint messages_message_type check (message_type in ('text', 'system', 'automated', 'voice', 'file')),
    client_message_id text,
    -- SHA-256 of what the sender first sent under the key; the text may have changed since.
    body_hash         blob,
    reply_to          blob references messages (id),
    -- The message in whose thread this one stands; and whether it stands in the main line of the conversation, as all others do.
    thread_root_id    blob references messages (id),
    in_main_line      integer not null default true,
    -- Counts the changes of the message, its reactions among them.
    version           integer not null default 1,
    created_at        integer not null,
    edited_at         integer,
    -- A deleted message keeps its row and its number; its text is gone.
    deleted_at        integer,
    priority          text not null default 'normal'
        constraint messages_priority check (priority in ('normal', 'important', 'urgent')),
    -- Whether everybody else in the conversation is asked to say that they have seen it.
    requires_acknowledgement integer not null default 0,
    -- Kept at hand for everybody in the conversation, by one of them.
    pinned_at         integer,
    pinned_by         text,
    -- Of what was said elsewhere: the message, who sent it and when, as it was. Its text became this one's.
    forwarded_from    text,
    constraint messages_seq unique (conversation_id, seq),
    constraint messages_key_has_a_hash check ((client_message_id is null) = (body_hash is null)),
    constraint messages_pin check ((pinned_at is null) = (pinned_by is null)),
    constraint messages_stand_somewhere check (in_main_line or thread_root_id is not null)
) strict;

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
    root_id         blob primary key references messages (id),
    conversation_id blob not null,
    -- Replies that are not deleted; and when the last one was sent, deleted or not.
    reply_count     integer not null constraint threads_reply_count check (reply_count >= 0),
    last_reply_at   integer not null,
    -- Counts the changes of the row: whoever has two of it applies the higher one.
    version         integer not null default 1
) strict, without rowid;

create index threads_by_last_reply on threads (conversation_id, last_reply_at, root_id);

-- Who wants to be told of a thread, and how far they have read it. A row can be there before the thread is.
create table thread_followers (
    root_id         blob not null references messages (id),
    user_id         text not null,
    conversation_id blob not null,
    -- Replies up to this number are read; `unread_count` is what the view `thread_recounts` counts.
    last_read_seq   integer not null,
    unread_count    integer not null default 0 constraint thread_followers_unread_count check (unread_count >= 0),
    primary key (root_id, user_id)
) strict, without rowid;

create index thread_followers_by_user on thread_followers (user_id, conversation_id);

-- What a message said before it was edited. Gone when it is deleted.
create table message_versions (
    message_id   blob not null references messages (id),
    version      integer not null,
    message_text text not null,
    replaced_at  integer not null,
    primary key (message_id, version)
) strict, without rowid;

create table message_reactions (
    message_id blob not null references messages (id),
    reaction   text not null,
    user_id    text not null,
    created_at integer not null,
    primary key (message_id, reaction, user_id)
) strict, without rowid;

-- Who has said that they have seen a message that asks for it.
create table message_acknowledgements (
    message_id blob not null references messages (id),
    user_id    text not null,
    created_at integer not null,
    primary key (message_id, user_id)
) strict, without rowid;

create index message_acknowledgements_in_order on message_acknowledgements (message_id, created_at, user_id);

-- Whom a message calls; `*`, which is nobody's id, is everybody in its conversation.
create table message_mentions (
    message_id      blob not null references messages (id),
    user_id         text not null,
    -- Where it stands, so that those after a marker are found at once.
    conversation_id blob not null,
    seq             integer not null,
    primary key (message_id, user_id)
) strict, without rowid;

create index message_mentions_by_user on message_mentions (user_id, conversation_id, seq);

-- What somebody has deleted for themselves alone.
create table message_hides (
    user_id    text not null,
    message_id blob not null references messages (id),
    primary key (user_id, message_id)
) strict, without rowid;

create table message_attachments (
    id            blob primary key,
    -- The message that brought it; nothing until one does.
    message_id    blob references messages (id),
    file_name     text not null,
    file_type     text not null,
    file_size     integer not null constraint message_attachments_file_size check (file_size > 0),
    file_url      text not null,
    created_at    integer not null,
    uploader_id   text not null,
    kind          text not null constraint message_attachments_kind check (kind in ('file', 'image', 'voice')),
    -- `expired` ones are being deleted: no message can bring them any more.
    state         text not null default 'reserved'
        constraint message_attachments_state check (state in ('reserved', 'complete', 'attached', 'expired')),
    -- Where it stands among those of its message, from 0.
    place         integer not null default 0,
    -- In hex: what was announced, and once it is complete what was found.
    sha256        text,
    width         integer,
    height        integer,
    has_thumbnail integer not null default 0,
    duration_ms   integer,
    waveform      text,
    -- When it is given up, unless a message has brought it.
    expires_at    integer,
    constraint message_attachments_attached check ((message_id is not null) = (state = 'attached')),
    constraint message_attachments_expiry check ((expires_at is null) = (state = 'attached'))
) strict;

create index message_attachments_by_message on message_attachments (message_id) where message_id is not null;
create index message_attachments_by_uploader on message_attachments (uploader_id) where message_id is null;
create index message_attachments_by_expiry on message_attachments (expires_at) where expires_at is not null;

-- What messages bring that another message brought before: the same bytes, whatever becomes of that other one.
create table forwarded_attachments (
    message_id    blob not null references messages (id),
    attachment_id blob not null references message_attachments (id),
    place         integer not null,
    primary key (message_id, attachment_id)
) strict, without rowid;

create index forwarded_attachments_by_attachment on forwarded_attachments (attachment_id);

-- A numbered log per channel. The row is the counter: 1, 2, 3 … without holes, because a rollback takes the number back.
create table feeds (
    channel text primary key,
    seq     integer not null,
    -- Entries up to this number are no longer kept.
    floor   integer not null default 0 constraint feeds_floor check (floor between 0 and seq)
) strict, without rowid;

-- What happened, by reference: bodies are written when they are read, as of that day.
create table entries (
    channel         text not null references feeds (channel),
    seq             integer not null,
    kind            text not null,
    -- Where, if it happened in a conversation.
    conversation_id blob,
    message_id      blob,
    -- Whom it is about, where it is about somebody.
    user_id         text,
    created_at      integer not null,
    trace           blob not null,
    primary key (channel, seq)
) strict, without rowid;

-- What was committed and may still have to be announced: one row per transaction.
create table outbox (
    id            integer primary key autoincrement,
    -- [["user:alice", 7], …]
    heads         text not null,
    epoch         integer not null,
    created_at    integer not null,
    -- When, and at which reading of fleet_state.outbox_reads, a worker first saw it.
    first_read_at integer,
    first_read    integer
) strict;

-- Where devices, and users as a whole (device ''), stand: everything up to there was received.
create table acknowledgements (
    user_id   text not null,
    device_id text not null,
    epoch     integer not null,
    role      text not null,
    user_seq  integer not null,
    role_seq  integer not null,
    all_seq   integer not null,
    moved_at  integer not null,
    primary key (user_id, device_id)
) strict, without rowid;

-- The caller's key makes the same thing once at each path.
create table idempotency_keys (
    caller     text not null,
    path       text not null,
    key        text not null,
    body_hash  blob not null,
    result_id  blob not null,
    created_at integer not null,
    primary key (caller, path, key)
) strict, without rowid;

-- Guards against hands at the console: a number that was given stays given.
create trigger messages_stay before delete on messages begin
    select raise(abort, 'messages are not deleted: set deleted_at');
end;
create trigger messages_keep_their_place before update of id, conversation_id, seq, sender_id on messages begin
    select raise(abort, 'a message keeps its conversation, number and sender');
end;
create trigger feeds_stay before delete on feeds begin
    select raise(abort, 'a feed is not deleted: its numbers would be given again');
end;

-- What is unread to whom: the one formula of all counts.
create view recounts as
select
    p.conversation_id, p.user_id,
    (
        select count(*) from messages m
        where m.conversation_id = p.conversation_id and m.in_main_line and m.seq > p.last_read_seq
            and m.sender_id <> p.user_id and m.deleted_at is null
            and not exists (select 1 from message_hides h where h.user_id = p.user_id and h.message_id = m.id)
    ) as counted
from conversation_participants p;

-- What mentions people among what is unread to them: the formula of `recounts`, narrowed to what calls them.
create view mention_counts as
select
    p.conversation_id, p.user_id,
    (
        select count(distinct x.seq) from message_mentions x join messages m on m.id = x.message_id
        where x.user_id in (p.user_id, '*') and x.conversation_id = p.conversation_id and x.seq > p.last_read_seq
            and m.in_main_line and m.sender_id <> p.user_id and m.deleted_at is null
            and not exists (select 1 from message_hides h where h.user_id = p.user_id and h.message_id = m.id)
    ) as mentioned
from conversation_participants p;

-- What is unread in the threads that people follow: of the same formula, what does not stand in the main line, where it counts.
-- So every message counts in one place.
create view thread_recounts as
select
    f.root_id, f.user_id, f.conversation_id, f.unread_count as stored,
    (
        select count(*) from messages m
        where m.thread_root_id = f.root_id and not m.in_main_line and m.seq > f.last_read_seq
            and m.sender_id <> f.user_id and m.deleted_at is null
            and not exists (select 1 from message_hides h where h.user_id = f.user_id and h.message_id = m.id)
    ) as counted
from thread_followers f;

-- Who follows which thread, with what mentions them among what is unread to them there.
create view follower_rows as
with shown as (
    select
        f.*,
        (
            select count(*) from messages m
            where m.thread_root_id = f.root_id and not m.in_main_line and m.seq > f.last_read_seq
                and m.sender_id <> f.user_id and m.deleted_at is null
                and exists (select 1 from message_mentions x where x.message_id = m.id and x.user_id in (f.user_id, '*'))
                and not exists (select 1 from message_hides h where h.user_id = f.user_id and h.message_id = m.id)
        ) as mentioned
    from thread_followers f
)
select
    *,
    json_object(
        'root_id', lower(hex(root_id)), 'user_id', user_id, 'conversation_id', lower(hex(conversation_id)),
        'last_read_seq', last_read_seq, 'unread_count', unread_count, 'mentioned', mentioned
    ) as json
from shown;

-- What the pods read: the columns of a noun, and the same as JSON where it is nested in another.
create view reaction_rows as
select
    r.message_id, r.reaction, count(*) as count, min(r.created_at) as since,
    (
        select json_group_array(x.user_id)
        from (
            select user_id from message_reactions o where o.message_id = r.message_id and o.reaction = r.reaction
            order by o.created_at, o.user_id limit 20
        ) x
    ) as user_ids
from message_reactions r group by r.message_id, r.reaction;

create view attachment_rows as
select
    id, message_id, file_name, file_type, file_size, file_url, uploader_id, kind, state, place, sha256, width, height,
    has_thumbnail, duration_ms, waveform, expires_at,
    json_object(
        'id', lower(hex(id)), 'file_name', file_name, 'file_type', file_type, 'file_size', file_size, 'file_url', file_url,
        'uploader_id', uploader_id, 'kind', kind, 'state', state, 'sha256', sha256, 'width', width, 'height', height,
        'has_thumbnail', json(iif(has_thumbnail, 'true', 'false')), 'duration_ms', duration_ms,
        'waveform', json(waveform), 'expires_at', expires_at
    ) as json
from message_attachments;

-- What each message brings, its own and what it forwards.
create view brought_attachments as
select a.message_id as brought_by, a.place as place_there, a.* from attachment_rows a where a.message_id is not null
union all
select f.message_id, f.place, a.* from forwarded_attachments f join attachment_rows a on a.id = f.attachment_id;

create view message_rows as
with shown as (
    select
        m.*,
        (
            select json_group_array(
                json_object('reaction', r.reaction, 'count', r.count, 'user_ids', json(r.user_ids)) order by r.since, r.reaction
            )
            from reaction_rows r where r.message_id = m.id
        ) as reactions,
        (
            -- Not from brought_attachments: an aggregate over it would read all of it.
            select json_group_array(json(a.json) order by coalesce(f.place, a.place))
            from attachment_rows a
            left join forwarded_attachments f on f.attachment_id = a.id and f.message_id = m.id
            where m.deleted_at is null and a.id in (
                select o.id from message_attachments o where o.message_id = m.id
                union all select o.attachment_id from forwarded_attachments o where o.message_id = m.id
            )
        ) as attachments,
        (select json_group_array(x.user_id order by x.user_id) from message_mentions x where x.message_id = m.id) as mentions,
        (
            select json_object('reply_count', t.reply_count, 'last_reply_at', t.last_reply_at, 'version', t.version)
            from threads t where t.root_id = coalesce(m.thread_root_id, m.id)
        ) as thread,
        iif(m.requires_acknowledgement, json_object(
            'count', (select count(*) from message_acknowledgements k where k.message_id = m.id),
            'items', json((
                select json_group_array(json_object('user_id', k.user_id, 'acknowledged_at', k.created_at))
                from (
                    select * from message_acknowledgements o where o.message_id = m.id
                    order by o.created_at, o.user_id limit 20
                ) k
            ))
        ), null) as acknowledgements
    from messages m
)
select
    id, seq, conversation_id, sender_id,
    case when deleted_at is null then message_text else '' end as message_text,
    message_type, client_message_id, reply_to, thread_root_id, in_main_line, thread, version, created_at, edited_at,
    deleted_at, reactions, attachments, mentions, pinned_at, pinned_by, forwarded_from, priority, requires_acknowledgement, acknowledgements,
    json_object(
        'id', lower(hex(id)), 'seq', seq, 'conversation_id', lower(hex(conversation_id)), 'sender_id', sender_id,
        'message_text', case when deleted_at is null then message_text else '' end, 'message_type', message_type,
        'client_message_id', client_message_id, 'reply_to', case when reply_to is not null then lower(hex(reply_to)) end,
        'thread_root_id', case when thread_root_id is not null then lower(hex(thread_root_id)) end,
        'in_main_line', json(iif(in_main_line, 'true', 'false')), 'thread', json(thread),
        'version', version, 'created_at', created_at, 'edited_at', edited_at, 'deleted_at', deleted_at,
        'reactions', json(reactions), 'attachments', json(attachments),
        'mentions', json(mentions), 'pinned_at', pinned_at, 'pinned_by', pinned_by, 'forwarded_from', json(forwarded_from),
        'priority', priority, 'requires_acknowledgement', json(iif(requires_acknowledgement, 'true', 'false')),
        'acknowledgements', json(acknowledgements)
    ) as json
from shown;

create view participant_rows as
select
    conversation_id, user_id, role, joined_at, left_at, last_read_seq, last_read_at, last_delivered_seq, shows_receipts, version,
    unread_count, muted_until, pinned_at, archived_at,
    json_object(
        'conversation_id', lower(hex(conversation_id)), 'user_id', user_id, 'role', role, 'joined_at', joined_at,
        'left_at', left_at, 'last_read_seq', last_read_seq, 'last_read_at', last_read_at,
        'last_delivered_seq', last_delivered_seq, 'shows_receipts', json(iif(shows_receipts, 'true', 'false')), 'version', version, 'unread_count', unread_count, 'muted_until', muted_until, 'pinned_at', pinned_at, 'archived_at', archived_at
    ) as json
from conversation_participants;

create view conversation_rows as
with shown as (
    select
        c.*,
        coalesce(c.last_message_at, c.created_at) as active_at,
        (
            select json_group_array(json(p.json) order by p.joined_at, p.user_id)
            from participant_rows p
            where p.conversation_id = c.id and p.left_at is null
        ) as participants,
        (select m.json from message_rows m where m.conversation_id = c.id and m.seq = c.last_main_seq) as last_message
    from conversations c
)
select
    *,
    json_object(
        'id', lower(hex(id)), 'type', type, 'status', status, 'subject', subject, 'metadata', json(metadata),
        'version', version, 'queued_at', queued_at, 'assigned_to', assigned_to, 'participants', json(participants), 'last_message', json(last_message), 'last_message_at', last_message_at,
        'created_at', created_at
    ) as json
from shown;

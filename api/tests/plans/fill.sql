-- A database with much in it: 8,000 conversations, 409 of them alice's, and 100,880 messages. Everything is the same each time,
-- ids and times included, so that plans are.

insert into users (id, role, name, seen_at)
select 'person-' || n, 'guest', 'Person ' || n, timestamptz '2026-01-01' from generate_series(0, 999) n
union all select 'alice', 'guest', 'Alice', '2026-01-01';

insert into conversations (id, type, subject, created_by, last_seq, last_main_seq, last_message_at, created_at)
select md5('conversation ' || n)::uuid, 'group', 'conversation ' || n, 'person-' || n % 1000,
    case when n <= 10 then 500 else 12 end, case when n <= 10 then 500 else 12 end, timestamptz '2026-01-02' + n % 7993 * interval '1 minute', '2026-01-01'
from generate_series(1, 8000) n;

create temporary table places as
select n, md5('conversation ' || n)::uuid as id, 'person-' || n % 1000 as one, 'person-' || (n * 7 + 3) % 1000 as other,
    case when n <= 10 then 500 else 12 end as last
from generate_series(1, 8000) n;

insert into conversation_participants (conversation_id, user_id, role, joined_at, last_read_seq, last_delivered_seq)
select p.id, person, 'participant', '2026-01-01', p.last - 5, p.last
from places p cross join lateral unnest(array[p.one, p.other, case when p.n % 20 = 0 or p.n <= 10 then 'alice' end]) person
where person is not null;

create temporary table said as
select p.n, p.id as place, s as seq, md5('message ' || p.n || ' ' || s)::uuid as id,
    -- Of every six, two answer the first one in a thread.
    case s % 6 when 3 then md5('message ' || p.n || ' ' || s - 2)::uuid when 4 then md5('message ' || p.n || ' ' || s - 3)::uuid end
        as root,
    case when s % 2 = 0 then p.one else p.other end as sender, row_number() over (order by s, p.n) as number
from places p cross join lateral generate_series(1, p.last) s;

insert into messages (id, conversation_id, seq, thread_root_id, in_main_line, sender_id, message_text, client_message_id, body_hash,
    requires_acknowledgement, pinned_at, pinned_by, created_at)
select id, place, seq, root, root is null, sender,
    'the ' || (array['quick', 'lazy', 'brown', 'young'])[1 + number % 4] || ' fox ' || number
        || case when number % 1000 = 0 then ' at the lighthouse' else '' end,
    'key-' || number, sha256(convert_to(number::text, 'UTF8')), number % 200 = 0,
    case when number % 500 = 0 then timestamptz '2026-01-03' end, case when number % 500 = 0 then sender end,
    timestamptz '2026-01-01' + number * interval '1 second'
from said;

insert into threads (root_id, conversation_id, reply_count, last_reply_at)
select root, place, count(*), max(timestamptz '2026-01-01' + number * interval '1 second')
from said where root is not null group by root, place;
insert into thread_followers (root_id, user_id, conversation_id, last_read_seq)
select t.root_id, p.user_id, p.conversation_id, p.last_read_seq
from threads t join conversation_participants p using (conversation_id);

insert into message_reactions (message_id, reaction, user_id, created_at)
select id, r, sender, '2026-01-03' from said cross join unnest(array['👍', '❤']) r where number % 5 = 0;
insert into message_mentions (message_id, user_id, conversation_id, seq)
select id, case when number % 20 = 0 then '*' else 'alice' end, place, seq from said where number % 10 = 0;
insert into message_hides (user_id, message_id) select 'alice', id from said where number % 97 = 0;
insert into message_hides (user_id, message_id) select sender, id from said where number % 31 = 0;
insert into message_versions (message_id, version, message_text, replaced_at)
select id, 1, 'as it was', '2026-01-03' from said where number % 20 = 0;
insert into message_acknowledgements (message_id, user_id, created_at)
select s.id, p.user_id, '2026-01-03' from said s join conversation_participants p on p.conversation_id = s.place
where s.number % 200 = 0;
insert into message_attachments (id, message_id, file_name, file_type, file_size, file_url, created_at, uploader_id, kind, state)
select md5('attachment ' || number)::uuid, id, 'a.png', 'image/png', 1000, 'x', '2026-01-03', sender, 'image', 'attached'
from said where number % 20 = 0;
insert into forwarded_attachments (message_id, attachment_id, place)
select id, md5('attachment ' || number - 1)::uuid, 0 from said where number % 20 = 1 and number > 1;

insert into entries (channel, seq, kind, conversation_id, message_id, created_at, trace)
select 'user:' || p.user_id, row_number() over (partition by p.user_id order by s.number), 'new_message', s.place, s.id,
    timestamptz '2026-01-01' + s.number * interval '1 second', md5('trace ' || s.number)::uuid
from said s join conversation_participants p on p.conversation_id = s.place;
insert into feeds (channel, seq) select channel, max(seq) from entries group by channel;
insert into acknowledgements (user_id, device_id, epoch, role, user_seq, role_seq, all_seq, moved_at)
select u.id, d, (select epoch from fleet_state), 'guest', 1, 0, 0, '2026-01-03'
from users u cross join unnest(array['', 'phone', 'desk', 'tablet']) d;
insert into outbox (channels, seqs, epoch, created_at)
select array['user:alice', 'user:person-' || n], array[n, n], (select epoch from fleet_state), '2026-01-03'
from generate_series(1, 300) n;
insert into idempotency_keys (caller, path, key, body_hash, result_id)
select sender, 'messages', 'once-' || number, sha256('x'), id from said where number % 2 = 0;
insert into user_blocks (user_id, blocked_id, created_at)
select 'person-' || n, 'person-' || n + 1, timestamptz '2026-01-03' from generate_series(0, 900) n
union all select 'alice', 'person-999', '2026-01-03';
insert into privacy_settings (user_id) select 'person-' || n from generate_series(0, 500) n;
insert into unsent_messages (user_id, conversation_id, message_text, updated_at)
select one, id, 'not yet', '2026-01-03' from places where n % 5 = 0;
insert into scheduled_messages (id, sender_id, sender_role, conversation_id, message, send_at, created_at)
select md5('scheduled ' || n)::uuid, one, 'guest', id, '{}', timestamptz '2100-01-01' + n * interval '1 minute', '2026-01-03'
from places where n % 5 = 0;
insert into message_reports (id, message_id, reporter_id, reason, created_at)
select md5('report ' || number)::uuid, id, 'alice', 'spam', '2026-01-03' from said where number % 50 = 0;

analyze;
update conversation_participants p set unread_count = r.counted
from recounts r where r.conversation_id = p.conversation_id and r.user_id = p.user_id;
update thread_followers f set unread_count = r.counted
from thread_recounts r where r.root_id = f.root_id and r.user_id = f.user_id;

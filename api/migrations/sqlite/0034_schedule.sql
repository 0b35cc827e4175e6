-- Messages that are to be sent later. Workers send them; what was sent, or taken back, keeps no text here.

create table scheduled_messages (
    -- The id that the message will have.
    id              blob primary key,
    sender_id       text not null,
    -- As what the sender asked for it: they need not be there when it is sent.
    sender_role     text not null,
    conversation_id blob not null references conversations (id),
    message         text,
    send_at         integer not null,
    status          text not null default 'scheduled'
        constraint scheduled_messages_status check (status in ('scheduled', 'sent', 'refused', 'cancelled')),
    -- Why it could not be sent: the code and the detail of a problem.
    refusal         text,
    version         integer not null default 1,
    created_at      integer not null,
    -- Until then a worker has it.
    claimed_until   integer,
    constraint scheduled_messages_keep_no_text check ((message is null) = (status in ('sent', 'cancelled'))),
    constraint scheduled_messages_refusal check ((refusal is not null) = (status = 'refused'))
) strict;

create index scheduled_messages_by_sender on scheduled_messages (sender_id, send_at, id) where message is not null;
create index scheduled_messages_due on scheduled_messages (send_at) where status = 'scheduled';

create view scheduled_rows as
select
    id, sender_id, sender_role, conversation_id, message, send_at, status, refusal, version, created_at,
    json_object(
        'id', lower(hex(id)), 'sender_id', sender_id, 'sender_role', sender_role,
        'conversation_id', lower(hex(conversation_id)), 'message', json(message), 'send_at', send_at, 'status', status,
        'refusal', json(refusal), 'version', version, 'created_at', created_at
    ) as json
from scheduled_messages;

-- What people have written and not sent: their drafts, the same on all their devices.

create table unsent_messages (
    user_id         text not null,
    conversation_id blob not null references conversations (id),
    -- Nothing once it is sent or thrown away; the row stays, so that versions go on.
    message_text    text,
    reply_to        blob references messages (id),
    version         integer not null default 1,
    updated_at      integer not null,
    primary key (user_id, conversation_id)
) strict, without rowid;

create index unsent_messages_by_age on unsent_messages (user_id, updated_at desc, conversation_id desc)
    where message_text is not null;

create view unsent_rows as
select
    user_id, conversation_id, message_text, reply_to, version, updated_at,
    json_object(
        'user_id', user_id, 'conversation_id', lower(hex(conversation_id)), 'message_text', message_text,
        'reply_to', case when reply_to is not null then lower(hex(reply_to)) end, 'version', version, 'updated_at', updated_at
    ) as json
from unsent_messages;

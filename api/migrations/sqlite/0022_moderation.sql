-- What people report, and what staff decide.

create table message_reports (
    id              blob primary key,
    message_id      blob not null references messages (id),
    reporter_id     text not null,
    reason          text not null
        constraint message_reports_reason
        check (reason in ('spam', 'harassment', 'hate', 'violence', 'sexual', 'fraud', 'other')),
    note            text,
    state           text not null default 'open'
        constraint message_reports_state check (state in ('open', 'resolved', 'dismissed')),
    created_at      integer not null,
    decided_by      text,
    decided_at      integer,
    decision_note   text,
    constraint message_reports_once unique (message_id, reporter_id),
    constraint message_reports_decided check ((state = 'open') = (decided_by is null) and (state = 'open') = (decided_at is null))
) strict;

create index message_reports_by_age on message_reports (created_at, id);
create index message_reports_by_reporter on message_reports (reporter_id);
create index message_reports_by_state on message_reports (state, created_at, id);

create view report_rows as
select
    r.id, r.message_id, m.conversation_id, m.sender_id, r.reporter_id, r.reason, r.note, r.state, r.created_at, r.decided_by,
    r.decided_at, r.decision_note,
    json_object(
        'id', lower(hex(r.id)), 'message_id', lower(hex(r.message_id)), 'conversation_id', lower(hex(m.conversation_id)),
        'sender_id', m.sender_id, 'reporter_id', r.reporter_id, 'reason', r.reason, 'note', r.note, 'state', r.state,
        'created_at', r.created_at, 'decided_by', r.decided_by, 'decided_at', r.decided_at, 'decision_note', r.decision_note
    ) as json
from message_reports r join messages m on m.id = r.message_id;

-- What takes longer than a request: giving people what is kept of them, and erasing them. Done step by step, each step one
-- transaction that also says how far it is.

create table jobs (
    id              blob primary key,
    kind            text not null constraint jobs_kind check (kind in ('export', 'erase')),
    -- About whom, and who asked for it.
    user_id         text not null,
    requested_by    text not null,
    state           text not null default 'waiting'
        constraint jobs_state check (state in ('waiting', 'running', 'done')),
    -- Messages that were looked through, and those there were when it began.
    progress        integer not null default 0,
    total           integer not null default 0,
    -- The conversation at hand, and the number up to which it was looked through; the next one if there is no number.
    conversation_id blob,
    seq             integer,
    created_at      integer not null,
    finished_at     integer,
    leased_until    integer,
    constraint jobs_finished check ((state = 'done') = (finished_at is not null))
) strict;

create unique index jobs_one_at_a_time on jobs (user_id) where state <> 'done';
create index jobs_by_age on jobs (created_at) where state <> 'done';
create index jobs_by_user on jobs (user_id, created_at);

create view job_rows as
select id, kind, user_id, requested_by, state, min(progress, total) as progress, total, created_at, finished_at
from jobs;

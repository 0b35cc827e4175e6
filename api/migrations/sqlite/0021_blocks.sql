-- Who wants to hear nothing of whom. Only the one who blocks ever sees it.

create table user_blocks (
    -- Who blocks.
    user_id    text not null,
    blocked_id text not null,
    created_at integer not null,
    primary key (user_id, blocked_id),
    constraint user_blocks_somebody_else check (user_id <> blocked_id)
) strict, without rowid;

create index user_blocks_by_blocked on user_blocks (blocked_id);
create index user_blocks_by_age on user_blocks (user_id, created_at, blocked_id);

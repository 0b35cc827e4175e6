-- Tokens that do not count any more. Rows are kept until no token can match them; every pod holds all of them in its memory, and
-- follows the feed `fleet`, whose number each row has.

create table revocations (
    id              blob primary key,
    user_id         text not null,
    -- Either one token, by its `jti`, or all that were issued until a moment.
    token_id        text,
    issued_until    integer,
    reason          text,
    revoked_by      text not null,
    revoked_at      integer not null,
    -- No token can match it any more.
    expires_at      integer not null,
    -- The last entry of the feed that told of it.
    fleet_seq       integer not null,
    constraint revocations_of_one_or_until check ((token_id is null) <> (issued_until is null))
) strict;

create unique index revocations_once on revocations (user_id, ifnull(token_id, ''));
create index revocations_by_age on revocations (revoked_at desc, id desc);
create index revocations_by_fleet_seq on revocations (fleet_seq);
create index revocations_by_end on revocations (expires_at);

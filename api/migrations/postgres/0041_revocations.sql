-- Tokens that do not count any more. Rows are kept until no token can match them; every pod holds all of them in its memory, and
-- follows the feed `fleet`, whose number each row has.
--
-- Refusals beside those of 0002_functions.sql: CAR01 too many

create table revocations (
    id              uuid primary key,
    user_id         text collate "C" not null,
    -- Either one token, by its `jti`, or all that were issued until a moment.
    token_id        text collate "C",
    issued_until    timestamptz,
    reason          text,
    revoked_by      text collate "C" not null,
    revoked_at      timestamptz not null,
    -- No token can match it any more.
    expires_at      timestamptz not null,
    -- The last entry of the feed that told of it.
    fleet_seq       bigint not null,
    constraint revocations_once unique nulls not distinct (user_id, token_id),
    constraint revocations_of_one_or_until check ((token_id is null) <> (issued_until is null))
);

create index revocations_by_age on revocations (revoked_at desc, id desc);
create index revocations_by_fleet_seq on revocations (fleet_seq);
create index revocations_by_end on revocations (expires_at);

select carillon_guard('revocations');
create policy admins on revocations for select to carillon_app
    using ((select carillon_caller_role()) in ('admin', 'service'));

create view revocation_rows with (security_invoker = true) as
select
    id, user_id, token_id, carillon_micros(issued_until) as issued_until, reason, revoked_by,
    carillon_micros(revoked_at) as revoked_at, carillon_micros(expires_at) as expires_at, fleet_seq
from revocations;

grant select on revocations, revocation_rows to carillon_app;
grant select on revocation_rows to carillon_definer;

-- Revokes one token of somebody, or all that were issued until then, and tells the pods. What is revoked already changes nothing
-- and tells nobody; nor does what the key revoked before.
create function carillon_revoke(
    p_caller text, p_id uuid, p_user text, p_token text, p_issued_until timestamptz, p_reason text, p_expires timestamptz,
    p_most bigint, p_key text, p_hash bytea, p_trace uuid
)
returns table (created boolean, revocation jsonb, life bigint, channels text[], seqs bigint[], unread bigint[], at bigint)
language plpgsql volatile security definer set search_path = pg_catalog, public, pg_temp as $$
declare
    made    uuid := carillon_claim_key(p_caller, 'revocations', p_key, p_hash, p_id);
    moment  timestamptz := clock_timestamp();
    changed boolean := false;
    told    record;
begin
    -- What the key revoked may be over and forgotten.
    if not exists (select from revocations r where r.id = made) then
        -- Compared with nothing, nothing is counted.
        if (select count(*) from revocations r where r.user_id = p_user and r.token_id <> p_token) >= p_most then
            raise exception 'too many' using errcode = 'CAR01';
        end if;
        insert into revocations as r
            (id, user_id, token_id, issued_until, reason, revoked_by, revoked_at, expires_at, fleet_seq)
        values (p_id, p_user, p_token, p_issued_until, p_reason, p_caller, moment, p_expires, 0)
        on conflict on constraint revocations_once do update
            set issued_until = excluded.issued_until, reason = excluded.reason, revoked_by = excluded.revoked_by,
                revoked_at = excluded.revoked_at, expires_at = greatest(r.expires_at, excluded.expires_at)
            where r.issued_until < excluded.issued_until
        returning r.id into made;
        changed := found;
        if not changed then
            select r.id into made from revocations r
            where r.user_id = p_user and r.token_id is not distinct from p_token;
        end if;
        update idempotency_keys k set result_id = made
        where k.caller = p_caller and k.path = 'revocations' and k.key = p_key;
    end if;
    if not changed then
        return query
            select false, to_jsonb(r), null::bigint, null::text[], null::bigint[], null::bigint[], null::bigint
            from revocation_rows r where r.id = made;
        return;
    end if;
    told := carillon_enter(array['fleet'], 'fleet.revoked', null, null, p_user, p_trace, moment);
    update revocations r set fleet_seq = told.seqs[1] where r.id = made;
    return query
        select true, to_jsonb(r), told.life, told.channels, told.seqs, told.unread, told.at
        from revocation_rows r where r.id = made;
end $$;

-- What was revoked after a number of the feed `fleet`, at most so many rows of it, and how far the feed is; everything if the number
-- is of another epoch than today's or lies beyond the head. All from the snapshot of the call.
create function carillon_revoked_after(p_life bigint, p_after bigint, p_most bigint, out life bigint, out head bigint, out revoked jsonb)
language sql stable security definer set search_path = pg_catalog, public, pg_temp as $$
    select s.epoch, f.head, coalesce((
        select jsonb_agg(to_jsonb(page) order by page.fleet_seq) from (
            select * from revocation_rows r
            where r.fleet_seq > case when p_life = s.epoch and p_after <= f.head then p_after else 0 end
            order by r.fleet_seq limit p_most
        ) page
    ), '[]')
    from fleet_state s
    cross join lateral (select coalesce(max(seq), 0) as head from feeds where channel = 'fleet') f
$$;

-- Forgets at most so many that have been over for a while, and says how many those were.
create function carillon_forget_revocations(p_over interval, p_most bigint) returns bigint
language sql volatile security definer set search_path = pg_catalog, public, pg_temp as $$
    with gone as (
        delete from revocations r where r.id in (
            select o.id from revocations o where o.expires_at < clock_timestamp() - p_over
            order by o.expires_at limit p_most for update skip locked
        )
        returning 1
    )
    select count(*) from gone
$$;

select carillon_hand_over();

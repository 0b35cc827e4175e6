-- Who wants to hear nothing of whom. Only the one who blocks ever sees it.
--
-- Refusals concerning people, beside those of 0002_functions.sql:
--   CAP01 one has blocked the other   CAP02 too many blocks

create table user_blocks (
    -- Who blocks.
    user_id    text collate "C" not null,
    blocked_id text collate "C" not null,
    created_at timestamptz not null,
    primary key (user_id, blocked_id),
    constraint user_blocks_somebody_else check (user_id <> blocked_id)
);

create index user_blocks_by_blocked on user_blocks (blocked_id);
create index user_blocks_by_age on user_blocks (user_id, created_at desc, blocked_id);

select carillon_guard('user_blocks');
create policy own_rows on user_blocks for select to carillon_app using (user_id = (select carillon_caller()));
grant select on user_blocks to carillon_app;

-- Of each pair, whether one of them has blocked the other.
create function carillon_blocked_pairs(p_ones text[], p_others text[]) returns boolean[]
language sql stable security definer set search_path = pg_catalog, public, pg_temp as $$
    select array_agg(exists (
        select from user_blocks b
        where (b.user_id, b.blocked_id) in ((asked.one, asked.other), (asked.other, asked.one))
    ) order by asked.ordinal)
    from unnest(p_ones, p_others) with ordinality asked (one, other, ordinal)
$$;

-- Refuses what would reach the other one of a pair of whom one has blocked the other.
create function carillon_refuse_blocked(p_pair text) returns void
language plpgsql volatile security definer set search_path = pg_catalog, public, pg_temp as $$
begin
    if (carillon_blocked_pairs(array[split_part(p_pair, ' ', 1)], array[split_part(p_pair, ' ', 2)]))[1] then
        raise exception 'blocked' using errcode = 'CAP01';
    end if;
end $$;

-- Blocks somebody or takes it back, and tells the caller's own devices if that changes anything.
create function carillon_set_block(p_caller text, p_user text, p_blocks boolean, p_most bigint, p_trace uuid)
returns table (
    created boolean, blocked_at bigint, life bigint, channels text[], seqs bigint[], unread bigint[], at bigint
)
language plpgsql volatile security definer set search_path = pg_catalog, public, pg_temp as $$
declare
    moment timestamptz := clock_timestamp();
    changed boolean;
begin
    perform carillon_refuse_banned(p_caller);
    if p_blocks then
        insert into user_blocks (user_id, blocked_id, created_at) values (p_caller, p_user, moment) on conflict do nothing;
        changed := found;
        if changed and (select count(*) from user_blocks b where b.user_id = p_caller) > p_most then
            raise exception 'too many' using errcode = 'CAP02';
        end if;
    else
        delete from user_blocks b where b.user_id = p_caller and b.blocked_id = p_user;
        changed := found;
    end if;
    blocked_at := (
        select carillon_micros(b.created_at) from user_blocks b where b.user_id = p_caller and b.blocked_id = p_user
    );
    if not changed then
        return query select false, blocked_at, null::bigint, null::text[], null::bigint[], null::bigint[], null::bigint;
        return;
    end if;
    return query
        select true, blocked_at, e.life, e.channels, e.seqs, e.unread, e.at
        from carillon_enter(array['user:' || p_caller], 'blocks.updated', null, null, p_user, p_trace, moment) e;
end $$;

select carillon_hand_over();
-- Tells who blocks whom: only for the functions that have checked.
revoke execute on function carillon_refuse_blocked(text) from carillon_app;

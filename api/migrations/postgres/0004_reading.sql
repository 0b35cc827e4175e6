-- How far people have read, and what is unread. The view `recounts` of 0001_tables.sql is the one formula.

-- Moves the caller's own marker: forwards to a message they have read, or with `p_back` back to before one that they want to see
-- as unread. The conversation is not locked; the caller's own row is, which a send changes as well. The messages are counted
-- once the row is held, so that a send and a read cannot each miss the other.
create function carillon_mark(
    p_caller text, p_sees_all boolean, p_conversation uuid, p_seq bigint, p_back boolean, p_trace uuid
)
returns table (
    created boolean, participant jsonb, unread_count bigint, mentioned bigint, head bigint,
    life bigint, channels text[], seqs bigint[], unread bigint[], at bigint
)
language plpgsql volatile security definer set search_path = pg_catalog, public, pg_temp as $$
declare
    mine   conversation_participants;
    last   bigint;
    marker bigint;
    moment timestamptz;
begin
    perform carillon_refuse_banned(p_caller);
    select * into mine from conversation_participants p
    where p.conversation_id = p_conversation and p.user_id = p_caller and p.left_at is null for no key update;
    if not found then
        perform carillon_refuse_stranger(p_sees_all, p_conversation);
    end if;
    select c.last_seq into strict last from conversations c where c.id = p_conversation;
    marker := least(coalesce(p_seq, last), last);
    if (marker >= mine.last_read_seq) = p_back or marker = mine.last_read_seq then
        return query
            select false, (
                    select to_jsonb(p) from participant_rows p where p.conversation_id = p_conversation and p.user_id = p_caller
                ), mine.unread_count, (
                    select c.mentioned from mention_counts c where c.conversation_id = p_conversation and c.user_id = p_caller
                ), coalesce((select f.seq from feeds f where f.channel = 'user:' || p_caller), 0),
                null::bigint, null::text[], null::bigint[], null::bigint[], null::bigint;
        return;
    end if;
    moment := clock_timestamp();
    update conversation_participants p
    set last_read_seq = marker, last_read_at = moment, last_delivered_seq = greatest(p.last_delivered_seq, marker),
        version = p.version + 1
    where p.conversation_id = p_conversation and p.user_id = p_caller;
    perform carillon_recount(p_conversation, p_caller);
    return query
        select true, (
                select to_jsonb(p) from participant_rows p where p.conversation_id = p_conversation and p.user_id = p_caller
            ), e.unread[1], (
                select c.mentioned from mention_counts c where c.conversation_id = p_conversation and c.user_id = p_caller
            ), e.seqs[1], e.life, e.channels, e.seqs, e.unread, e.at
        from carillon_enter(array['user:' || p_caller], 'message.read', p_conversation, null, p_caller, p_trace, moment) e;
end $$;

-- Counts anew what is unread to somebody.
create function carillon_recount(p_conversation uuid, p_user text) returns void
language sql volatile security definer set search_path = pg_catalog, public, pg_temp as $$
    update conversation_participants p set unread_count = r.counted
    from recounts r
    where p.conversation_id = p_conversation and p.user_id = p_user
        and r.conversation_id = p_conversation and r.user_id = p_user and p.unread_count <> r.counted
$$;

-- What is unread to the caller: stored and counted anew, of so many conversations after one, or of every one, from one moment; and
-- the same of the threads that they follow there, added up.
create function carillon_verify_unread(p_caller text, p_after uuid, p_most bigint)
returns table (
    conversation_id uuid, last_read_seq bigint, stored bigint, counted bigint, mentioned bigint, head bigint,
    thread_stored bigint, thread_counted bigint, threads_wrong bigint
)
language sql stable security definer set search_path = pg_catalog, public, pg_temp as $$
    select p.conversation_id, p.last_read_seq, p.unread_count, r.counted, c.mentioned,
        coalesce((select f.seq from feeds f where f.channel = 'user:' || p_caller), 0),
        t.stored, t.counted, t.wrong
    from conversation_participants p
    join recounts r using (conversation_id, user_id)
    join mention_counts c using (conversation_id, user_id)
    cross join lateral (
        select coalesce(sum(o.stored), 0)::bigint as stored, coalesce(sum(o.counted), 0)::bigint as counted,
            count(*) filter (where o.stored <> o.counted) as wrong
        from thread_recounts o where o.user_id = p.user_id and o.conversation_id = p.conversation_id
    ) t
    where p.user_id = p_caller and p.left_at is null and (p_after is null or p.conversation_id > p_after)
    order by p.conversation_id
    limit p_most
$$;

select carillon_hand_over();
-- Only for the functions that have checked.
revoke execute on function carillon_recount(uuid, text) from carillon_app;

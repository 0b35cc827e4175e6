-- Threads: what is said to a message apart from the main line of its conversation. A reply has its number in the conversation like any
-- other message, and everyone in it is told; what differs is where it stands and where it counts as unread.
--
-- `threads` is changed by whoever holds the conversation and everyone in it. A row of `thread_followers` is also changed by whom it
-- is about; they hold their own row in the conversation, so that a reply and a read cannot each miss the other.
--
-- Refusals beside those of 0002_functions.sql; their text is the message they are about:
--   CA023 no such message to answer   CA024 it is deleted   CA025 it stands in a thread itself

-- Refuses to answer in a thread what cannot begin one.
create function carillon_refuse_to_answer(p_conversation uuid, p_root uuid) returns void
language plpgsql volatile security definer set search_path = pg_catalog, public, pg_temp as $$
declare
    root messages;
begin
    select * into root from messages m where m.id = p_root and m.conversation_id = p_conversation;
    if not found then
        raise exception '%', p_root using errcode = 'CA023';
    elsif root.deleted_at is not null then
        raise exception '%', p_root using errcode = 'CA024';
    elsif root.thread_root_id is not null then
        raise exception '%', p_root using errcode = 'CA025';
    end if;
end $$;

-- Puts a new message into its thread. Whoever answers follows it from then on, whoever is called by name, and from the first
-- answer on whoever is answered; to all who follow it but the sender it is unread, unless it counts in the main line.
create function carillon_reply(p_message uuid) returns void
language plpgsql volatile security definer set search_path = pg_catalog, public, pg_temp as $$
declare
    reply messages := (select m from messages m where m.id = p_message);
    is_first boolean;
begin
    insert into threads as t (root_id, conversation_id, reply_count, last_reply_at)
    values (reply.thread_root_id, reply.conversation_id, 1, reply.created_at)
    on conflict (root_id) do update
        set reply_count = t.reply_count + 1, last_reply_at = excluded.last_reply_at, version = t.version + 1
    returning t.version = 1 into is_first;
    insert into thread_followers (root_id, user_id, conversation_id, last_read_seq)
    select reply.thread_root_id, p.user_id, p.conversation_id, reply.seq - 1
    from conversation_participants p
    where p.conversation_id = reply.conversation_id and p.left_at is null and (
        p.user_id = reply.sender_id
        or exists (select from message_mentions x where x.message_id = reply.id and x.user_id = p.user_id)
        or (is_first and p.user_id = (select m.sender_id from messages m where m.id = reply.thread_root_id))
    )
    on conflict do nothing;
    if not reply.in_main_line then
        update thread_followers f set unread_count = f.unread_count + 1
        where f.root_id = reply.thread_root_id and f.user_id <> reply.sender_id;
    end if;
end $$;

-- Has those follow a thread whom an edited reply calls and did not call before. The caller holds the conversation.
create function carillon_follow_by_mention(p_message uuid, p_called text[]) returns void
language plpgsql volatile security definer set search_path = pg_catalog, public, pg_temp as $$
declare
    reply messages := (select m from messages m where m.id = p_message);
    come  text;
begin
    if reply.thread_root_id is null then
        return;
    end if;
    for come in
        insert into thread_followers (root_id, user_id, conversation_id, last_read_seq)
        select reply.thread_root_id, x.user_id, reply.conversation_id, reply.seq - 1
        from message_mentions x where x.message_id = p_message and x.user_id <> '*' and x.user_id <> all (p_called)
        on conflict do nothing
        returning user_id
    loop
        perform carillon_recount_thread(reply.thread_root_id, come);
    end loop;
end $$;

-- Counts anew what is unread to somebody in a thread that they follow.
create function carillon_recount_thread(p_root uuid, p_user text) returns void
language sql volatile security definer set search_path = pg_catalog, public, pg_temp as $$
    update thread_followers f set unread_count = r.counted
    from thread_recounts r
    where f.root_id = p_root and f.user_id = p_user and r.root_id = p_root and r.user_id = p_user and f.unread_count <> r.counted
$$;

-- Counts a reply no longer that is about to be deleted for everyone.
create function carillon_take_back_reply(p_message messages) returns void
language plpgsql volatile security definer set search_path = pg_catalog, public, pg_temp as $$
begin
    update threads t set reply_count = t.reply_count - 1, version = t.version + 1 where t.root_id = p_message.thread_root_id;
    update thread_followers f set unread_count = f.unread_count - 1
    where not p_message.in_main_line and f.root_id = p_message.thread_root_id and f.user_id <> p_message.sender_id
        and f.last_read_seq < p_message.seq
        and not exists (select from message_hides h where h.user_id = f.user_id and h.message_id = p_message.id);
end $$;

-- What the caller does with a thread for themselves: `read` moves their marker forwards, if they follow it; `follow` has them follow
-- it, with everything read that is there; `unfollow` ends that. Tells their own devices if something changed. `follower` is
-- null if they do not follow it.
create function carillon_change_thread(
    p_caller text, p_sees_all boolean, p_root uuid, p_action text, p_seq bigint, p_trace uuid
)
returns table (
    created boolean, conversation_id uuid, follower jsonb, head bigint,
    life bigint, channels text[], seqs bigint[], unread bigint[], at bigint
)
language plpgsql volatile security definer set search_path = pg_catalog, public, pg_temp as $$
declare
    root    messages := (select m from messages m where m.id = p_root);
    last    bigint;
    changed boolean;
begin
    perform carillon_refuse_banned(p_caller);
    if root.id is null then
        raise exception '%', p_root using errcode = 'CA023';
    end if;
    perform from conversation_participants p
    where p.conversation_id = root.conversation_id and p.user_id = p_caller and p.left_at is null for no key update;
    if not found then
        if not p_sees_all then
            raise exception '%', p_root using errcode = 'CA023';
        elsif root.thread_root_id is null then
            raise exception '%', root.conversation_id using errcode = 'CA002';
        end if;
    end if;
    if root.thread_root_id is not null then
        raise exception '%', p_root using errcode = 'CA025';
    end if;
    select c.last_seq into strict last from conversations c where c.id = root.conversation_id;
    if p_action = 'read' then
        update thread_followers f set last_read_seq = least(coalesce(p_seq, last), last)
        where f.root_id = p_root and f.user_id = p_caller and f.last_read_seq < least(coalesce(p_seq, last), last);
        changed := found;
        if changed then
            perform carillon_recount_thread(p_root, p_caller);
        end if;
    elsif p_action = 'follow' then
        insert into thread_followers (root_id, user_id, conversation_id, last_read_seq)
        values (p_root, p_caller, root.conversation_id, last) on conflict do nothing;
        changed := found;
    else
        delete from thread_followers f where f.root_id = p_root and f.user_id = p_caller;
        changed := found;
    end if;
    if not changed then
        return query
            select false, root.conversation_id, (
                    select f.json from follower_rows f where f.root_id = p_root and f.user_id = p_caller
                ), coalesce((select f.seq from feeds f where f.channel = 'user:' || p_caller), 0),
                null::bigint, null::text[], null::bigint[], null::bigint[], null::bigint;
        return;
    end if;
    return query
        select true, root.conversation_id, (
                select f.json from follower_rows f where f.root_id = p_root and f.user_id = p_caller
            ), e.seqs[1], e.life, e.channels, e.seqs, e.unread, e.at
        from carillon_enter(
            array['user:' || p_caller], 'thread.updated', root.conversation_id, p_root, p_caller, p_trace, clock_timestamp()
        ) e;
end $$;

select carillon_hand_over();
-- Only for the functions that have checked.
revoke execute on function carillon_refuse_to_answer(uuid, uuid), carillon_reply(uuid), carillon_follow_by_mention(uuid, text[]),
    carillon_recount_thread(uuid, text), carillon_take_back_reply(messages) from carillon_app;

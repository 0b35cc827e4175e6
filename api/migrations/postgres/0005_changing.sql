-- What becomes of messages once they are sent. Every change is one function of one shape: it takes the message with all that is
-- locked, changes it if it has to, and tells everyone concerned if it has.

-- Takes what a change of a message needs: its conversation and everyone in it, in the order of all locks. Answers the message,
-- as it is once they are held. `p_moderates`: who sees all may, without taking part.
create function carillon_take_message(p_caller text, p_sees_all boolean, p_message uuid, p_moderates boolean) returns messages
language plpgsql volatile security definer set search_path = pg_catalog, public, pg_temp as $$
declare
    place conversations;
    taken messages;
    takes_part boolean;
begin
    perform carillon_refuse_banned(p_caller);
    select c.* into place from conversations c
    where c.id = (select m.conversation_id from messages m where m.id = p_message) for no key update;
    if not found then
        raise exception 'no such message' using errcode = 'CA005';
    end if;
    select bool_or(held.user_id = p_caller) into takes_part
    from (
        select p.user_id from conversation_participants p
        where p.conversation_id = place.id and p.left_at is null order by p.user_id for no key update
    ) held;
    if takes_part is not true and not (p_moderates and p_sees_all) then
        if p_sees_all then
            raise exception '%', place.id using errcode = 'CA002';
        end if;
        raise exception 'no such message' using errcode = 'CA005';
    end if;
    if place.status = 'closed' and not p_moderates then
        raise exception '%', place.id using errcode = 'CA003';
    end if;
    select m.* into strict taken from messages m where m.id = p_message;
    return taken;
end $$;

-- Refuses a change that brings something new to the other one of a pair of whom one has blocked the other.
create function carillon_refuse_to_reach(p_message messages) returns void
language plpgsql volatile security definer set search_path = pg_catalog, public, pg_temp as $$
declare
    pair text := (select c.direct_pair from conversations c where c.id = p_message.conversation_id);
begin
    if pair is not null then
        perform carillon_refuse_blocked(pair);
    end if;
end $$;

-- Tells everyone in the conversation that a message has changed, or with `p_channels` only these feeds; nobody if it has not.
create function carillon_tell_change(p_changed boolean, p_kind text, p_message messages, p_caller text, p_channels text[], p_trace uuid)
returns table (created boolean, message jsonb, life bigint, channels text[], seqs bigint[], unread bigint[], at bigint)
language plpgsql volatile security definer set search_path = pg_catalog, public, pg_temp as $$
begin
    if not p_changed then
        return query select false, (select to_jsonb(m) from message_rows m where m.id = p_message.id), null::bigint,
            null::text[], null::bigint[], null::bigint[], null::bigint;
        return;
    end if;
    return query
        select true, (select to_jsonb(m) from message_rows m where m.id = p_message.id), e.life, e.channels, e.seqs, e.unread, e.at
        from carillon_enter(coalesce(p_channels, carillon_channels_of(p_message.conversation_id)), p_kind,
            p_message.conversation_id, p_message.id, p_caller, p_trace, clock_timestamp()) e;
end $$;

-- Gives a message of the caller's another text, and unless `p_mentions` is null, others to call. What it said before is kept
-- beside it.
create function carillon_edit(
    p_caller text, p_sees_all boolean, p_message uuid, p_text text, p_trace uuid, p_mentions text[]
)
returns table (created boolean, message jsonb, life bigint, channels text[], seqs bigint[], unread bigint[], at bigint)
language plpgsql volatile security definer set search_path = pg_catalog, public, pg_temp as $$
declare
    old messages := carillon_take_message(p_caller, p_sees_all, p_message, false);
    changed boolean := old.message_text <> p_text;
    called  text[] := array(select x.user_id from message_mentions x where x.message_id = old.id);
begin
    if old.deleted_at is not null then
        raise exception 'deleted' using errcode = 'CA006';
    elsif old.sender_id <> p_caller then
        raise exception 'another''s message' using errcode = 'CA007';
    elsif old.forwarded_from is not null then
        raise exception 'forwarded' using errcode = 'CA018';
    end if;
    perform carillon_refuse_to_reach(old);
    if p_mentions is not null and carillon_mention(old.id, p_mentions) then
        perform carillon_follow_by_mention(old.id, called);
        update messages m set version = m.version + 1 where m.id = old.id and not changed;
        changed := true;
    end if;
    if old.message_text <> p_text then
        insert into message_versions (message_id, version, message_text, replaced_at)
        values (old.id, old.version, old.message_text, clock_timestamp());
        update messages m set message_text = p_text, edited_at = clock_timestamp(), version = m.version + 1 where m.id = old.id;
    end if;
    return query select * from carillon_tell_change(changed, 'message.updated', old, p_caller, null, p_trace);
end $$;

-- Takes from a message what it says; it is unread to nobody any more. Its conversation and everyone in it are held.
create function carillon_make_tombstone(p_message messages) returns void
language plpgsql volatile security definer set search_path = pg_catalog, public, pg_temp as $$
begin
    update conversation_participants p set unread_count = p.unread_count - 1
    where p_message.in_main_line and p.conversation_id = p_message.conversation_id and p.user_id <> p_message.sender_id
        and p.last_read_seq < p_message.seq and p.left_at is null
        and not exists (select from message_hides h where h.user_id = p.user_id and h.message_id = p_message.id);
    if p_message.thread_root_id is not null then
        perform carillon_take_back_reply(p_message);
    end if;
    delete from message_versions v where v.message_id = p_message.id;
    delete from message_reactions r where r.message_id = p_message.id;
    delete from message_mentions x where x.message_id = p_message.id;
    delete from forwarded_attachments f where f.message_id = p_message.id;
    delete from message_acknowledgements k where k.message_id = p_message.id;
    update messages m
    set message_text = '', deleted_at = clock_timestamp(), version = m.version + 1, pinned_at = null, pinned_by = null,
        forwarded_from = null, priority = 'normal', requires_acknowledgement = false
    where m.id = p_message.id;
end $$;

-- Deletes a message for everyone: its sender may, and who sees all. It keeps its number and loses what it said.
create function carillon_delete(p_caller text, p_sees_all boolean, p_message uuid, p_text text, p_trace uuid)
returns table (created boolean, message jsonb, life bigint, channels text[], seqs bigint[], unread bigint[], at bigint)
language plpgsql volatile security definer set search_path = pg_catalog, public, pg_temp as $$
declare
    old messages := carillon_take_message(p_caller, p_sees_all, p_message, true);
begin
    if old.sender_id <> p_caller and not p_sees_all then
        raise exception 'another''s message' using errcode = 'CA007';
    end if;
    if old.deleted_at is null then
        perform carillon_make_tombstone(old);
    end if;
    return query select * from carillon_tell_change(old.deleted_at is null, 'message.deleted', old, p_caller, null, p_trace);
end $$;

-- Deletes a message for the caller alone.
create function carillon_hide(p_caller text, p_sees_all boolean, p_message uuid, p_text text, p_trace uuid)
returns table (created boolean, message jsonb, life bigint, channels text[], seqs bigint[], unread bigint[], at bigint)
language plpgsql volatile security definer set search_path = pg_catalog, public, pg_temp as $$
declare
    old messages := carillon_take_message(p_caller, p_sees_all, p_message, false);
    hidden boolean;
begin
    insert into message_hides (user_id, message_id) values (p_caller, old.id) on conflict do nothing;
    hidden := found;
    if hidden then
        update conversation_participants p set unread_count = p.unread_count - 1
        where old.in_main_line and p.conversation_id = old.conversation_id and p.user_id = p_caller
            and p.last_read_seq < old.seq and old.sender_id <> p_caller and old.deleted_at is null;
        update thread_followers f set unread_count = f.unread_count - 1
        where not old.in_main_line and f.root_id = old.thread_root_id and f.user_id = p_caller
            and f.last_read_seq < old.seq and old.sender_id <> p_caller and old.deleted_at is null;
    end if;
    return query
        select * from carillon_tell_change(hidden, 'message.hidden', old, p_caller, array['user:' || p_caller], p_trace);
end $$;

-- Adds a reaction of the caller's. A message takes 50 different ones.
create function carillon_react(p_caller text, p_sees_all boolean, p_message uuid, p_text text, p_trace uuid)
returns table (created boolean, message jsonb, life bigint, channels text[], seqs bigint[], unread bigint[], at bigint)
language plpgsql volatile security definer set search_path = pg_catalog, public, pg_temp as $$
declare
    old messages := carillon_take_message(p_caller, p_sees_all, p_message, false);
    added boolean;
begin
    if old.deleted_at is not null then
        raise exception 'deleted' using errcode = 'CA006';
    end if;
    perform carillon_refuse_to_reach(old);
    insert into message_reactions (message_id, reaction, user_id, created_at)
    values (old.id, p_text, p_caller, clock_timestamp()) on conflict do nothing;
    added := found;
    if added then
        if (select count(distinct r.reaction) from message_reactions r where r.message_id = old.id) > 50 then
            raise exception 'too many reactions' using errcode = 'CA008';
        end if;
        update messages m set version = m.version + 1 where m.id = old.id;
    end if;
    return query select * from carillon_tell_change(added, 'reaction.new', old, p_caller, null, p_trace);
end $$;

-- Takes back a reaction of the caller's.
create function carillon_unreact(p_caller text, p_sees_all boolean, p_message uuid, p_text text, p_trace uuid)
returns table (created boolean, message jsonb, life bigint, channels text[], seqs bigint[], unread bigint[], at bigint)
language plpgsql volatile security definer set search_path = pg_catalog, public, pg_temp as $$
declare
    old messages := carillon_take_message(p_caller, p_sees_all, p_message, false);
    removed boolean;
begin
    delete from message_reactions r where r.message_id = old.id and r.reaction = p_text and r.user_id = p_caller;
    removed := found;
    if removed then
        update messages m set version = m.version + 1 where m.id = old.id;
    end if;
    return query select * from carillon_tell_change(removed, 'reaction.deleted', old, p_caller, null, p_trace);
end $$;

select carillon_hand_over();
-- Only for the functions that have checked.
revoke execute on function carillon_take_message(text, boolean, uuid, boolean), carillon_refuse_to_reach(messages),
    carillon_make_tombstone(messages),
    carillon_tell_change(boolean, text, messages, text, text[], uuid) from carillon_app;

-- Keeping messages at hand for everybody in a conversation, and saying again elsewhere what was said.
--
-- Refusals beside those of 0002_functions.sql: CA017 too many pins   CA018 a forwarded message keeps what it says

-- Pins a message for everybody in its conversation, which has room for 50.
create function carillon_pin(p_caller text, p_sees_all boolean, p_message uuid, p_text text, p_trace uuid)
returns table (created boolean, message jsonb, life bigint, channels text[], seqs bigint[], unread bigint[], at bigint)
language plpgsql volatile security definer set search_path = pg_catalog, public, pg_temp as $$
declare
    old messages := carillon_take_message(p_caller, p_sees_all, p_message, false);
begin
    if old.deleted_at is not null then
        raise exception 'deleted' using errcode = 'CA006';
    end if;
    if old.pinned_at is null then
        if (
            select count(*) from messages m where m.conversation_id = old.conversation_id and m.pinned_at is not null
        ) >= 50 then
            raise exception 'too many pins' using errcode = 'CA017';
        end if;
        update messages m set pinned_at = clock_timestamp(), pinned_by = p_caller, version = m.version + 1 where m.id = old.id;
    end if;
    return query select * from carillon_tell_change(old.pinned_at is null, 'message.pinned', old, p_caller, null, p_trace);
end $$;

-- Takes a pin away, whoever set it.
create function carillon_unpin(p_caller text, p_sees_all boolean, p_message uuid, p_text text, p_trace uuid)
returns table (created boolean, message jsonb, life bigint, channels text[], seqs bigint[], unread bigint[], at bigint)
language plpgsql volatile security definer set search_path = pg_catalog, public, pg_temp as $$
declare
    old messages := carillon_take_message(p_caller, p_sees_all, p_message, false);
begin
    if old.pinned_at is not null then
        update messages m set pinned_at = null, pinned_by = null, version = m.version + 1 where m.id = old.id;
    end if;
    return query select * from carillon_tell_change(old.pinned_at is not null, 'message.unpinned', old, p_caller, null, p_trace);
end $$;

-- Makes a new message say what another one says at this moment, if its sender may see that one. What was forwarded before keeps
-- its first sender.
create function carillon_forward(p_caller text, p_sees_all boolean, p_message uuid, p_source uuid) returns void
language plpgsql volatile security definer set search_path = pg_catalog, public, pg_temp as $$
declare
    source messages;
begin
    select m.* into source from messages m
    where m.id = p_source
        and not exists (select from message_hides h where h.user_id = p_caller and h.message_id = m.id)
        and (p_sees_all or exists (
            select from conversation_participants p
            where p.conversation_id = m.conversation_id and p.user_id = p_caller and p.left_at is null
        ));
    if not found then
        raise exception 'no such message' using errcode = 'CA005';
    elsif source.deleted_at is not null then
        raise exception 'deleted' using errcode = 'CA006';
    end if;
    update messages m
    set message_text = source.message_text,
        message_type = case when source.message_type in ('voice', 'file') then source.message_type else 'text' end,
        forwarded_from = coalesce(source.forwarded_from, jsonb_build_object(
            'message_id', source.id, 'sender_id', source.sender_id, 'created_at', carillon_micros(source.created_at)
        ))
    where m.id = p_message;
    insert into forwarded_attachments (message_id, attachment_id, place)
    select p_message, a.id, a.place_there from brought_attachments a where a.brought_by = p_source;
end $$;

select carillon_guard('forwarded_attachments');
create policy readers on forwarded_attachments for select to carillon_app using (carillon_sees(message_id));
-- Whoever sees a message that forwards it sees it.
create policy readers_of_forwards on message_attachments for select to carillon_app
    using (exists (select from forwarded_attachments f where f.attachment_id = message_attachments.id));
grant select on forwarded_attachments, brought_attachments to carillon_app;
grant select on brought_attachments to carillon_definer;

select carillon_hand_over();
-- Speak through any message: only for the function that has checked.
revoke execute on function carillon_forward(text, boolean, uuid, uuid) from carillon_app;

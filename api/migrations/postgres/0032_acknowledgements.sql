-- Saying that one has seen a message that asks for it.
--
-- A refusal beside those of 0002_functions.sql: CA019 the message asks the caller for nothing

select carillon_guard('message_acknowledgements');
create policy readers on message_acknowledgements for select to carillon_app using (carillon_sees(message_id));
grant select on message_acknowledgements to carillon_app;

-- Acknowledges a message for the caller, once.
create function carillon_acknowledge(p_caller text, p_sees_all boolean, p_message uuid, p_text text, p_trace uuid)
returns table (created boolean, message jsonb, life bigint, channels text[], seqs bigint[], unread bigint[], at bigint)
language plpgsql volatile security definer set search_path = pg_catalog, public, pg_temp as $$
declare
    old messages := carillon_take_message(p_caller, p_sees_all, p_message, false);
    added boolean;
begin
    if old.deleted_at is not null then
        raise exception 'deleted' using errcode = 'CA006';
    elsif not old.requires_acknowledgement or old.sender_id = p_caller then
        raise exception 'asks for nothing' using errcode = 'CA019';
    end if;
    insert into message_acknowledgements (message_id, user_id, created_at)
    values (old.id, p_caller, clock_timestamp()) on conflict do nothing;
    added := found;
    if added then
        update messages m set version = m.version + 1 where m.id = old.id;
    end if;
    return query select * from carillon_tell_change(added, 'message.acknowledged', old, p_caller, null, p_trace);
end $$;

select carillon_hand_over();

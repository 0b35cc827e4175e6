-- Messages that are to be sent later. Workers send them; what was sent, or taken back, keeps no text here.
--
-- Refusals beside those of 0002_functions.sql: CA020 no such scheduled message   CA021 it does not wait any more
--   CA022 too many

create table scheduled_messages (
    -- The id that the message will have.
    id              uuid primary key,
    sender_id       text collate "C" not null,
    -- As what the sender asked for it: they need not be there when it is sent.
    sender_role     text not null,
    conversation_id uuid not null constraint scheduled_messages_conversation references conversations (id),
    message         jsonb,
    send_at         timestamptz not null,
    status          text not null default 'scheduled'
        constraint scheduled_messages_status check (status in ('scheduled', 'sent', 'refused', 'cancelled')),
    -- Why it could not be sent: the code and the detail of a problem.
    refusal         jsonb,
    version         bigint not null default 1,
    created_at      timestamptz not null,
    -- Until then a worker has it.
    claimed_until   timestamptz,
    constraint scheduled_messages_keep_no_text check ((message is null) = (status in ('sent', 'cancelled'))),
    constraint scheduled_messages_refusal check ((refusal is not null) = (status = 'refused'))
);

create index scheduled_messages_by_sender on scheduled_messages (sender_id, send_at, id) where message is not null;
create index scheduled_messages_due on scheduled_messages (send_at) where status = 'scheduled';

create view scheduled_rows with (security_invoker = true) as
select
    id, sender_id, sender_role, conversation_id, message, carillon_micros(send_at) as send_at, status, refusal, version,
    carillon_micros(created_at) as created_at
from scheduled_messages;

select carillon_guard('scheduled_messages');
create policy own_rows on scheduled_messages for select to carillon_app using (sender_id = (select carillon_caller()));
grant select on scheduled_messages, scheduled_rows to carillon_app;
grant select on scheduled_rows to carillon_definer;

-- Tells the sender's devices what has become of a scheduled message; nobody if nothing has.
create function carillon_tell_scheduled(p_changed boolean, p_kind text, p_message scheduled_messages, p_trace uuid)
returns table (created boolean, scheduled jsonb, life bigint, channels text[], seqs bigint[], unread bigint[], at bigint)
language plpgsql volatile security definer set search_path = pg_catalog, public, pg_temp as $$
begin
    if not p_changed then
        return query select false, (select to_jsonb(s) from scheduled_rows s where s.id = p_message.id), null::bigint,
            null::text[], null::bigint[], null::bigint[], null::bigint;
        return;
    end if;
    return query
        select true, (select to_jsonb(s) from scheduled_rows s where s.id = p_message.id), e.life, e.channels, e.seqs, e.unread, e.at
        from carillon_enter(array['user:' || p_message.sender_id], p_kind, p_message.conversation_id, p_message.id,
            p_message.sender_id, p_trace, clock_timestamp()) e;
end $$;

-- Keeps a message that is to be sent later, or answers what the key kept before.
create function carillon_schedule(
    p_caller text, p_role text, p_sees_all boolean, p_id uuid, p_conversation uuid, p_message jsonb, p_send_at timestamptz,
    p_most bigint, p_key text, p_hash bytea, p_trace uuid
)
returns table (created boolean, scheduled jsonb, life bigint, channels text[], seqs bigint[], unread bigint[], at bigint)
language plpgsql volatile security definer set search_path = pg_catalog, public, pg_temp as $$
declare
    made uuid := carillon_claim_key(p_caller, 'scheduled', p_key, p_hash, p_id);
    kept scheduled_messages;
begin
    if made is null then
        perform carillon_refuse_banned(p_caller);
        perform from conversation_participants p
        where p.conversation_id = p_conversation and p.user_id = p_caller and p.left_at is null for no key update;
        if not found then
            perform carillon_refuse_stranger(p_sees_all, p_conversation);
        end if;
        if (select count(*) from scheduled_messages s where s.sender_id = p_caller and s.message is not null) >= p_most then
            raise exception 'too many' using errcode = 'CA022';
        end if;
        insert into scheduled_messages (id, sender_id, sender_role, conversation_id, message, send_at, created_at)
        values (p_id, p_caller, p_role, p_conversation, p_message, p_send_at, clock_timestamp());
    end if;
    select * into strict kept from scheduled_messages s where s.id = coalesce(made, p_id);
    return query select * from carillon_tell_scheduled(made is null, 'scheduled_message.updated', kept, p_trace);
end $$;

-- Changes a message of the caller's that is not sent yet: when, what it says, or with `p_cancel` that it is sent at all. One that
-- was refused waits again.
create function carillon_reschedule(
    p_caller text, p_id uuid, p_send_at timestamptz, p_text text, p_cancel boolean, p_trace uuid
)
returns table (created boolean, scheduled jsonb, life bigint, channels text[], seqs bigint[], unread bigint[], at bigint)
language plpgsql volatile security definer set search_path = pg_catalog, public, pg_temp as $$
declare
    old     scheduled_messages;
    wanted  jsonb;
    changed boolean;
begin
    perform carillon_refuse_banned(p_caller);
    select * into old from scheduled_messages s where s.id = p_id and s.sender_id = p_caller for no key update;
    if not found then
        raise exception 'no such scheduled message' using errcode = 'CA020';
    elsif (old.status = 'cancelled' and not p_cancel) or old.status = 'sent' or old.claimed_until > clock_timestamp()
        -- It was sent, and who sent it could not say so any more.
        or exists (select from messages m where m.id = p_id)
    then
        raise exception 'it does not wait any more' using errcode = 'CA021';
    end if;
    if p_cancel then
        changed := old.status <> 'cancelled';
        update scheduled_messages s set status = 'cancelled', message = null, refusal = null, version = s.version + 1
        where s.id = p_id and changed;
        return query select * from carillon_tell_scheduled(changed, 'scheduled_message.deleted', old, p_trace);
        return;
    end if;
    wanted := case when p_text is null then old.message else jsonb_set(old.message, '{message_text}', to_jsonb(p_text)) end;
    changed := old.status = 'refused' or (old.send_at, old.message) is distinct from (coalesce(p_send_at, old.send_at), wanted);
    update scheduled_messages s
    set status = 'scheduled', refusal = null, message = wanted, send_at = coalesce(p_send_at, s.send_at), version = s.version + 1
    where s.id = p_id and changed;
    return query select * from carillon_tell_scheduled(changed, 'scheduled_message.updated', old, p_trace);
end $$;

-- Takes messages that are due, for a worker that sends them within a minute; of those that others have it waits for none.
create function carillon_take_due(p_most bigint) returns setof jsonb
language sql volatile security definer set search_path = pg_catalog, public, pg_temp as $$
    with due as (
        select s.id from scheduled_messages s
        where s.status = 'scheduled' and s.send_at <= clock_timestamp()
            and (s.claimed_until is null or s.claimed_until <= clock_timestamp())
        order by s.send_at limit p_most for update skip locked
    ), taken as (
        update scheduled_messages s set claimed_until = clock_timestamp() + interval '1 minute' from due where s.id = due.id
        returning s.id
    )
    select to_jsonb(r) from scheduled_rows r join taken on taken.id = r.id order by r.send_at, r.id
$$;

-- Notes what became of a message that was due: it was sent, or with `p_refusal` refused.
create function carillon_finish_scheduled(p_id uuid, p_refusal jsonb, p_trace uuid)
returns table (created boolean, scheduled jsonb, life bigint, channels text[], seqs bigint[], unread bigint[], at bigint)
language plpgsql volatile security definer set search_path = pg_catalog, public, pg_temp as $$
declare
    old scheduled_messages;
begin
    select * into strict old from scheduled_messages s where s.id = p_id for no key update;
    update scheduled_messages s
    set status = case when p_refusal is null then 'sent' else 'refused' end,
        message = case when p_refusal is null then null else s.message end,
        refusal = p_refusal, claimed_until = null, version = s.version + 1
    where s.id = p_id and old.status = 'scheduled';
    return query select * from carillon_tell_scheduled(old.status = 'scheduled',
        case when p_refusal is null then 'scheduled_message.sent' else 'scheduled_message.updated' end, old, p_trace);
end $$;

select carillon_hand_over();
-- Tell of anybody's: only for the functions that have checked.
revoke execute on function carillon_tell_scheduled(boolean, text, scheduled_messages, uuid) from carillon_app;

-- What people have written and not sent: their drafts, the same on all their devices.

create table unsent_messages (
    user_id         text collate "C" not null,
    conversation_id uuid not null constraint unsent_messages_conversation references conversations (id),
    -- Nothing once it is sent or thrown away; the row stays, so that versions go on.
    message_text    text,
    reply_to        uuid constraint unsent_messages_reply_to references messages (id),
    version         bigint not null default 1,
    updated_at      timestamptz not null,
    primary key (user_id, conversation_id)
);

create index unsent_messages_by_age on unsent_messages (user_id, updated_at desc, conversation_id desc)
    where message_text is not null;

create view unsent_rows with (security_invoker = true) as
select user_id, conversation_id, message_text, reply_to, version, carillon_micros(updated_at) as updated_at
from unsent_messages;

select carillon_guard('unsent_messages');
create policy own_rows on unsent_messages for select to carillon_app using (user_id = (select carillon_caller()));
grant select on unsent_messages, unsent_rows to carillon_app;
grant select on unsent_rows to carillon_definer;

-- Keeps what the caller has written in a conversation, or with a null text keeps it no longer; with `p_only` only if that is
-- still its version. Their own row in the conversation is held, so that their devices come one after the other.
create function carillon_keep_unsent(
    p_caller text, p_sees_all boolean, p_conversation uuid, p_text text, p_reply_to uuid, p_only bigint, p_trace uuid
)
returns table (created boolean, draft jsonb, life bigint, channels text[], seqs bigint[], unread bigint[], at bigint)
language plpgsql volatile security definer set search_path = pg_catalog, public, pg_temp as $$
declare
    old     unsent_messages;
    changed boolean;
begin
    perform carillon_refuse_banned(p_caller);
    perform from conversation_participants p
    where p.conversation_id = p_conversation and p.user_id = p_caller and p.left_at is null for no key update;
    if not found then
        perform carillon_refuse_stranger(p_sees_all, p_conversation);
    end if;
    if p_reply_to is not null and not exists (
        select from messages m where m.id = p_reply_to and m.conversation_id = p_conversation
    ) then
        raise exception 'no such message' using errcode = 'CA005';
    end if;
    select * into old from unsent_messages u where u.user_id = p_caller and u.conversation_id = p_conversation;
    changed := (old.message_text, old.reply_to) is distinct from (p_text, p_reply_to)
        and (p_only is null or coalesce(p_only = old.version, false));
    if not changed then
        return query
            select false, (
                    select to_jsonb(u) from unsent_rows u where u.user_id = p_caller and u.conversation_id = p_conversation
                ), null::bigint, null::text[], null::bigint[], null::bigint[], null::bigint;
        return;
    end if;
    insert into unsent_messages as u (user_id, conversation_id, message_text, reply_to, updated_at)
    values (p_caller, p_conversation, p_text, p_reply_to, clock_timestamp())
    on conflict (user_id, conversation_id) do update
        set message_text = excluded.message_text, reply_to = excluded.reply_to, updated_at = excluded.updated_at,
            version = u.version + 1;
    return query
        select true, (
                select to_jsonb(u) from unsent_rows u where u.user_id = p_caller and u.conversation_id = p_conversation
            ), e.life, e.channels, e.seqs, e.unread, e.at
        from carillon_enter(array['user:' || p_caller], case when p_text is null then 'draft.deleted' else 'draft.updated' end,
            p_conversation, null, p_caller, p_trace, clock_timestamp()) e;
end $$;

select carillon_hand_over();

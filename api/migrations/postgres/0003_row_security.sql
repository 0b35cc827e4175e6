-- Who may see which row, whatever a query forgets to ask. Two roles that cannot log in stand behind every pod:
--   carillon_app      what pods become right after they connect; it may read what follows, call functions, and write nothing
--   carillon_definer  owns the functions; no policy limits it, but it owns no table and has no rights beyond them
-- Per transaction a pod says for whom it reads: carillon.user_id and carillon.role. Without them nothing is visible.
--
-- Row security is forced, so that it binds the owner of the tables as well. A later migration that changes rows does it as
-- carillon_definer.

create function carillon_caller() returns text language sql stable parallel safe
    return nullif(current_setting('carillon.user_id', true), '');

create function carillon_caller_role() returns text language sql stable parallel safe
    return nullif(current_setting('carillon.role', true), '');

create function carillon_own_channels() returns text[] language sql stable parallel safe
    return case when carillon_caller() is null then '{}'
        else array['user:' || carillon_caller(), 'role:' || carillon_caller_role(), 'all'] end;

-- The conversations of the caller. A definer function, because a policy of conversation_participants that reads
-- conversation_participants would call itself. Asked once per query, not once per row.
create function carillon_own_conversations() returns setof uuid
language sql stable security definer set search_path = pg_catalog, public, pg_temp as $$
    select p.conversation_id from conversation_participants p
    where p.user_id = nullif(current_setting('carillon.user_id', true), '') and p.left_at is null
$$;

-- Whether the caller takes part in a conversation: for policies that are asked of few rows, which need not know all of theirs.
create function carillon_takes_part(p_conversation uuid) returns boolean
language plpgsql stable security definer set search_path = pg_catalog, public, pg_temp as $$
begin
    return exists (
        select from conversation_participants p
        where p.conversation_id = p_conversation and p.user_id = carillon_caller() and p.left_at is null
    );
end $$;

-- Whether the caller sees a message: the rule of the policies of messages, for what hangs on them. As functions, and in PL/pgSQL,
-- which keeps its plans: policies that look into tables with policies of their own are written into each other, and a page of
-- messages was planned for longer than it was read.
create function carillon_sees(p_message uuid) returns boolean
language plpgsql stable security definer set search_path = pg_catalog, public, pg_temp as $$
begin
    return exists (
        select from messages m
        where m.id = p_message and (
            carillon_caller_role() in ('staff', 'admin', 'service') or exists (
                select from conversation_participants p
                where p.conversation_id = m.conversation_id and p.user_id = carillon_caller() and p.left_at is null
            )
        )
    );
end $$;

-- Puts tables under row-level security: from then on only the functions see a row, until a policy says who else does.
create function carillon_guard(variadic p_tables text[]) returns void language plpgsql as $$
declare
    name text;
begin
    foreach name in array p_tables loop
        execute format('alter table %I enable row level security', name);
        execute format('alter table %I force row level security', name);
        execute format('create policy definer on %I to carillon_definer using (true) with check (true)', name);
        execute format('grant select, insert, update, delete on %I to carillon_definer', name);
    end loop;
end $$;

-- Lets staff and services read tables whole; what everybody else sees of them is for policies of their own.
create function carillon_show_to_staff(variadic p_tables text[]) returns void language plpgsql as $$
declare
    name text;
begin
    foreach name in array p_tables loop
        execute format($policy$create policy staff on %I for select to carillon_app
            using ((select carillon_caller_role()) in ('staff', 'admin'))$policy$, name);
        execute format($policy$create policy service on %I for select to carillon_app
            using ((select carillon_caller_role()) = 'service')$policy$, name);
    end loop;
end $$;

-- Gives every function that is `security definer` to the role that owns them all, and lets pods call those that are new. The
-- last thing a migration does that makes any.
create function carillon_hand_over() returns void language plpgsql as $$
declare
    made regprocedure;
begin
    -- Taking over functions needs the right to make some, for as long as this takes.
    grant create on schema public to carillon_definer;
    for made in
        select p.oid::regprocedure from pg_proc p
        where p.pronamespace = 'public'::regnamespace and p.proname like 'carillon\_%' and p.prosecdef
            and p.proowner <> 'carillon_definer'::regrole
    loop
        execute format('alter function %s owner to carillon_definer', made);
        execute format('revoke execute on function %s from public', made);
        execute format('grant execute on function %s to carillon_app', made);
    end loop;
    revoke create on schema public from carillon_definer;
end $$;

revoke execute on function carillon_guard(text[]), carillon_show_to_staff(text[]), carillon_hand_over() from public;

select carillon_guard('conversations', 'conversation_participants', 'messages', 'message_attachments', 'feeds', 'entries',
    'acknowledgements', 'users', 'outbox', 'outbox_readings', 'idempotency_keys', 'message_versions', 'message_reactions',
    'message_hides', 'threads', 'thread_followers');
select carillon_show_to_staff('conversations', 'conversation_participants', 'messages', 'threads');

create policy participants on conversations for select to carillon_app
    using (id in (select carillon_own_conversations()));

-- One's own row, of a conversation one has left as well, and those of others.
create policy participants on conversation_participants for select to carillon_app
    using (user_id = (select carillon_caller()) or conversation_id in (select carillon_own_conversations()));

create policy participants on messages for select to carillon_app using (carillon_takes_part(conversation_id));

-- Whoever sees the message sees what it brought, staff included.
create policy participants on message_attachments for select to carillon_app using (carillon_sees(message_id));

create policy readers on message_versions for select to carillon_app using (carillon_sees(message_id));
create policy readers on message_reactions for select to carillon_app using (carillon_sees(message_id));
create policy own_rows on message_hides for select to carillon_app using (user_id = (select carillon_caller()));
create policy participants on threads for select to carillon_app using (carillon_takes_part(conversation_id));
create policy own_rows on thread_followers for select to carillon_app using (user_id = (select carillon_caller()));

create policy own_channels on feeds for select to carillon_app using (channel = any ((select carillon_own_channels())::text[]));
create policy own_channels on entries for select to carillon_app using (channel = any ((select carillon_own_channels())::text[]));
create policy own_rows on acknowledgements for select to carillon_app using (user_id = (select carillon_caller()));

grant select on conversations, conversation_participants, messages, message_attachments, feeds, entries, acknowledgements,
    message_versions, message_reactions, message_hides, threads, thread_followers, message_rows, participant_rows,
    conversation_rows, attachment_rows, follower_rows, fleet_state, _sqlx_migrations to carillon_app;
grant select, insert, update on fleet_state to carillon_definer;
grant select on message_rows, participant_rows, conversation_rows, attachment_rows, recounts, thread_recounts, follower_rows
    to carillon_definer;

select carillon_hand_over();
-- Enter any feed, claim anybody's key: only for the functions that have checked.
revoke execute on function carillon_enter(text[], text, uuid, uuid, text, uuid, timestamptz),
    carillon_channels_of(uuid), carillon_refuse_stranger(boolean, uuid),
    carillon_claim_key(text, text, text, bytea, uuid), carillon_shows_receipts(text) from carillon_app;

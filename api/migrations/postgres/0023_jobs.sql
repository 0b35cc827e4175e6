-- What takes longer than a request: giving people what is kept of them, and erasing them. A worker takes a job for a while and
-- does it step by step, each step one transaction that also says how far it is. Whoever dies in between has left nothing behind:
-- when the while is over, another worker goes on from there.

create table jobs (
    id              uuid primary key,
    kind            text not null constraint jobs_kind check (kind in ('export', 'erase')),
    -- About whom, and who asked for it.
    user_id         text collate "C" not null,
    requested_by    text collate "C" not null,
    state           text not null default 'waiting'
        constraint jobs_state check (state in ('waiting', 'running', 'done')),
    -- Messages that were looked through, and those there were when it began.
    progress        bigint not null default 0,
    total           bigint not null default 0,
    -- The conversation at hand, and the number up to which it was looked through; the next one if there is no number.
    conversation_id uuid,
    seq             bigint,
    created_at      timestamptz not null,
    finished_at     timestamptz,
    leased_until    timestamptz,
    constraint jobs_finished check ((state = 'done') = (finished_at is not null))
);

create unique index jobs_one_at_a_time on jobs (user_id) where state <> 'done';
create index jobs_by_age on jobs (created_at) where state <> 'done';
create index jobs_by_user on jobs (user_id, created_at);

select carillon_guard('jobs');
create policy own_rows on jobs for select to carillon_app
    using ((select carillon_caller()) in (user_id, requested_by) or (select carillon_caller_role()) in ('admin', 'service'));

create view job_rows with (security_invoker = true) as
select
    id, kind, user_id, requested_by, state, least(progress, total) as progress, total, carillon_micros(created_at) as created_at,
    carillon_micros(finished_at) as finished_at
from jobs;

grant select on jobs, job_rows to carillon_app;
grant select on job_rows to carillon_definer;

-- Refuses to have to do with people who were erased.
create function carillon_refuse_erased(p_users text[]) returns void
language plpgsql volatile security definer set search_path = pg_catalog, public, pg_temp as $$
declare
    gone text := (select u.id from users u where u.id = any (p_users) and u.erased_at is not null order by u.id limit 1);
begin
    if gone is not null then
        raise exception '%', gone using errcode = 'CAP08';
    end if;
end $$;

-- Begins a job about somebody, or answers the one of this kind that is under way. Erasing begins at once: nothing is known of them
-- from then on, they change nothing any more, and their connections are closed. A row for each kind of entry that was made; one
-- without a kind if there was none.
create function carillon_start_job(p_caller text, p_id uuid, p_kind text, p_user text, p_most bigint, p_trace uuid)
returns table (
    job jsonb, kind text, person jsonb, created boolean, life bigint, channels text[], seqs bigint[], unread bigint[], at bigint
)
language plpgsql volatile security definer set search_path = pg_catalog, public, pg_temp as $$
declare
    held  users;
    first jobs;
    circle text[];
    moment timestamptz := clock_timestamp();
begin
    insert into users (id, role, seen_at) values (p_user, 'guest', moment) on conflict do nothing;
    select * into strict held from users u where u.id = p_user for no key update;
    select * into first from jobs j
    where j.user_id = p_user and (j.state <> 'done' or (held.erased_at is not null and j.kind = 'erase'));
    if found and first.kind = p_kind then
        return query select to_jsonb(j), null::text, null::jsonb, false, null::bigint, null::text[], null::bigint[],
            null::bigint[], null::bigint from job_rows j where j.id = first.id;
        return;
    elsif held.erased_at is not null then
        raise exception '%', p_user using errcode = 'CAP08';
    elsif found then
        raise exception 'another job' using errcode = 'CAP09';
    end if;
    insert into jobs (id, kind, user_id, requested_by, total, created_at)
    select p_id, p_kind, p_user, p_caller, coalesce(sum(c.last_seq), 0), moment
    from conversation_participants p join conversations c on c.id = p.conversation_id where p.user_id = p_user;
    if p_kind = 'export' then
        return query select to_jsonb(j), null::text, null::jsonb, true, null::bigint, null::text[], null::bigint[],
            null::bigint[], null::bigint from job_rows j where j.id = p_id;
        return;
    end if;
    circle := array_remove(carillon_circle(p_user, p_most), 'user:' || p_user);
    update users u set
        erased_at = moment, updated_at = moment, version = u.version + 1, name = null, avatar_url = null, email = null,
        locale = null, time_zone = null
    where u.id = p_user;
    return query
        select (select to_jsonb(j) from job_rows j where j.id = p_id), told.kind,
            (select to_jsonb(u) from user_rows u where u.id = p_user), true, e.life, e.channels, e.seqs, e.unread, e.at
        from (
            values (1, 'account.erased', array['user:' || p_user]), (2, 'user.erased', circle)
        ) told (place, kind, channels)
        cross join lateral carillon_enter(told.channels, told.kind, null, null, p_user, p_trace, moment) e
        order by told.place;
end $$;

-- Takes the job that waits longest, or one whose worker was not heard of since its while was over.
create function carillon_claim_job(p_lasts interval) returns setof jsonb
language plpgsql volatile security definer set search_path = pg_catalog, public, pg_temp as $$
declare
    taken uuid;
begin
    update jobs j set state = 'running', leased_until = clock_timestamp() + p_lasts
    where j.id = (
        select w.id from jobs w where w.state <> 'done' and (w.leased_until is null or w.leased_until < clock_timestamp())
        order by w.created_at limit 1 for update skip locked
    )
    returning j.id into taken;
    return query select to_jsonb(j) from job_rows j where j.id = taken;
end $$;

-- Does one step of erasing somebody: at most so many of their messages and reactions in at most so many numbers of one
-- conversation; then they leave it; when there is no conversation left, what only they had goes. A row for each entry, whose
-- trace is the job, and one without a kind, with the job, at the end.
create function carillon_erase_next(p_job uuid, p_most bigint, p_span bigint, p_lasts interval)
returns table (
    job jsonb, kind text, message jsonb, conversation jsonb, created boolean, life bigint, channels text[], seqs bigint[],
    unread bigint[], at bigint
)
language plpgsql volatile security definer set search_path = pg_catalog, public, pg_temp as $$
declare
    task  jobs;
    place conversations;
    old   messages;
    upto  bigint;
    told  text[];
    changed bigint := 0;
    reached bigint;
begin
    select * into strict task from jobs j where j.id = p_job for no key update;
    if task.state <> 'done' and task.seq is null then
        task.conversation_id := (
            select p.conversation_id from conversation_participants p
            where p.user_id = task.user_id and (task.conversation_id is null or p.conversation_id > task.conversation_id)
            order by p.conversation_id limit 1
        );
        task.seq := 0;
    end if;
    if task.state <> 'done' and task.conversation_id is not null then
        select * into strict place from conversations c where c.id = task.conversation_id for no key update;
        perform from conversation_participants p
        where p.conversation_id = place.id and p.left_at is null order by p.user_id for no key update;
        upto := least(place.last_seq, task.seq + p_span);
        for old in
            select m.* from messages m
            where m.conversation_id = place.id and m.seq > task.seq and m.seq <= upto and case
                when m.sender_id = task.user_id then
                    m.deleted_at is null or m.client_message_id is not null
                    or exists (select from message_attachments a where a.message_id = m.id)
                else exists (select from message_reactions r where r.message_id = m.id and r.user_id = task.user_id)
            end
            order by m.seq limit p_most
        loop
            changed := changed + 1;
            reached := old.seq;
            if old.sender_id = task.user_id then
                delete from forwarded_attachments f using message_attachments a
                where a.message_id = old.id and f.attachment_id = a.id;
                update message_attachments a set message_id = null, state = 'expired', expires_at = clock_timestamp()
                where a.message_id = old.id;
                -- Of a short text even the hash tells what it was.
                update messages m set client_message_id = null, body_hash = null where m.id = old.id;
                if old.deleted_at is null then
                    perform carillon_make_tombstone(old);
                end if;
            else
                delete from message_reactions r where r.message_id = old.id and r.user_id = task.user_id;
                update messages m set version = m.version + 1 where m.id = old.id;
            end if;
            return query
                select null::jsonb, told.kind, c.message, null::jsonb, true, c.life, c.channels, c.seqs, c.unread, c.at
                from (
                    values (case when old.sender_id = task.user_id then 'message.deleted' else 'reaction.deleted' end)
                ) told (kind)
                cross join lateral carillon_tell_change(
                    old.sender_id <> task.user_id or old.deleted_at is null, told.kind, old, task.user_id, null, p_job
                ) c
                where c.created;
        end loop;
        if changed = p_most then
            upto := reached;
        end if;
        task.progress := task.progress + upto - task.seq;
        task.seq := upto;
        if changed < p_most and upto = place.last_seq then
            task.seq := null;
            told := carillon_channels_of(place.id);
            update conversation_participants p set
                left_at = coalesce(p.left_at, clock_timestamp()), unread_count = 0, muted_until = null, pinned_at = null,
                archived_at = null, version = p.version + 1
            where p.conversation_id = place.id and p.user_id = task.user_id;
            delete from thread_followers f where f.user_id = task.user_id and f.conversation_id = place.id;
            -- Whom they looked after waits for somebody else.
            update conversations c set queued_at = clock_timestamp(), assigned_to = null
            where c.id = place.id and c.assigned_to = task.user_id;
            if 'user:' || task.user_id = any (told) then
                update conversations c set version = c.version + 1 where c.id = place.id;
                return query
                    select null::jsonb, 'member.removed', null::jsonb, c.conversation, true, c.life, c.channels, c.seqs, c.unread,
                        c.at
                    from carillon_tell_conversation(true, 'member.removed', place.id, task.user_id, told, p_job) c;
            end if;
        end if;
        update jobs j set conversation_id = task.conversation_id, seq = task.seq, progress = task.progress,
            leased_until = clock_timestamp() + p_lasts
        where j.id = p_job;
    elsif task.state <> 'done' and exists (
        select from conversation_participants p where p.user_id = task.user_id and p.left_at is null
    ) then
        -- Somebody brought them into one that was looked through: once more from the beginning.
        update jobs j set conversation_id = null, seq = null where j.id = p_job;
    elsif task.state <> 'done' and exists (
        select from messages m where m.forwarded_from ->> 'sender_id' = task.user_id
    ) then
        -- What others have said again of theirs, in one conversation at a time.
        select c.* into strict place from conversations c
        where c.id = (select m.conversation_id from messages m where m.forwarded_from ->> 'sender_id' = task.user_id limit 1)
        for no key update;
        perform from conversation_participants p
        where p.conversation_id = place.id and p.left_at is null order by p.user_id for no key update;
        for old in
            select m.* from messages m
            where m.forwarded_from ->> 'sender_id' = task.user_id and m.conversation_id = place.id
            order by m.seq limit p_most
        loop
            perform carillon_make_tombstone(old);
            return query
                select null::jsonb, 'message.deleted', c.message, null::jsonb, true, c.life, c.channels, c.seqs, c.unread, c.at
                from carillon_tell_change(true, 'message.deleted', old, task.user_id, null, p_job) c;
        end loop;
        update jobs j set leased_until = clock_timestamp() + p_lasts where j.id = p_job;
    elsif task.state <> 'done' then
        delete from user_blocks b where b.user_id = task.user_id or b.blocked_id = task.user_id;
        delete from message_hides h where h.user_id = task.user_id;
        delete from message_mentions x where x.user_id = task.user_id;
        delete from unsent_messages u where u.user_id = task.user_id;
        delete from scheduled_messages c where c.sender_id = task.user_id;
        delete from privacy_settings s where s.user_id = task.user_id;
        delete from acknowledgements a where a.user_id = task.user_id;
        delete from idempotency_keys k where k.caller = task.user_id;
        update message_reports r set note = null where r.reporter_id = task.user_id;
        update message_attachments a set state = 'expired', expires_at = clock_timestamp()
        where a.uploader_id = task.user_id and a.message_id is null;
        update jobs j set state = 'done', finished_at = clock_timestamp(), progress = j.total, leased_until = null
        where j.id = p_job;
    end if;
    return query select to_jsonb(j), null::text, null::jsonb, null::jsonb, false, null::bigint, null::text[], null::bigint[],
        null::bigint[], null::bigint from job_rows j where j.id = p_job;
end $$;

-- What is kept of somebody, page by page: first what is known of them, whom they block and what they reported; then, conversation
-- by conversation and so many numbers at a time, what they wrote there and how they reacted. A row for each line, and one without
-- a kind that says where the next page begins; nowhere at the end.
create function carillon_export_page(p_user text, p_conversation uuid, p_seq bigint, p_span bigint)
returns table (kind text, line jsonb, conversation_id uuid, seq bigint)
language plpgsql stable security definer set search_path = pg_catalog, public, pg_temp as $$
declare
    last bigint;
    upto bigint;
begin
    if p_conversation is null then
        return query
            select 'profile', to_jsonb(u), null::uuid, null::bigint from user_rows u where u.id = p_user
            union all
            select 'block', jsonb_build_object('blocked_id', b.blocked_id, 'blocked_at', carillon_micros(b.created_at)), null, null
            from user_blocks b where b.user_id = p_user
            union all
            select 'report', to_jsonb(r), null, null from report_rows r where r.reporter_id = p_user;
    else
        select c.last_seq into strict last from conversations c where c.id = p_conversation;
        upto := least(last, p_seq + p_span);
        return query
            select 'conversation', jsonb_build_object('conversation', to_jsonb(c), 'participant', to_jsonb(p)), null::uuid, null::bigint
            from conversation_rows c join participant_rows p on p.conversation_id = c.id
            where c.id = p_conversation and p.user_id = p_user and p_seq = 0;
        return query
            select 'thread', f.json, null::uuid, null::bigint
            from follower_rows f where f.conversation_id = p_conversation and f.user_id = p_user and p_seq = 0
            order by f.root_id;
        return query
            select 'message', to_jsonb(m), null::uuid, null::bigint
            from message_rows m
            where m.conversation_id = p_conversation and m.seq > p_seq and m.seq <= upto and m.sender_id = p_user
                and m.deleted_at is null
            order by m.seq;
        return query
            select 'version', jsonb_build_object('message_id', m.id, 'version', v.version, 'message_text', v.message_text,
                'replaced_at', carillon_micros(v.replaced_at)), null::uuid, null::bigint
            from messages m join message_versions v on v.message_id = m.id
            where m.conversation_id = p_conversation and m.seq > p_seq and m.seq <= upto and m.sender_id = p_user
            order by m.seq, v.version;
        return query
            select 'reaction', jsonb_build_object('message_id', m.id, 'reaction', r.reaction,
                'created_at', carillon_micros(r.created_at)), null::uuid, null::bigint
            from messages m join message_reactions r on r.message_id = m.id
            where m.conversation_id = p_conversation and m.seq > p_seq and m.seq <= upto and r.user_id = p_user
            order by m.seq, r.reaction;
        if upto < last then
            return query select null::text, null::jsonb, p_conversation, upto;
            return;
        end if;
    end if;
    return query
        select null::text, null::jsonb, (
            select p.conversation_id from conversation_participants p
            where p.user_id = p_user and (p_conversation is null or p.conversation_id > p_conversation)
            order by p.conversation_id limit 1
        ), 0::bigint;
end $$;

-- Says how far a job is, and has it for a while more.
create function carillon_keep_job(p_job uuid, p_progress bigint, p_lasts interval) returns void
language sql volatile security definer set search_path = pg_catalog, public, pg_temp as $$
    update jobs j set progress = p_progress, leased_until = clock_timestamp() + p_lasts where j.id = p_job and j.state <> 'done'
$$;

-- Ends an export: its file is an attachment of whoever asked for it, under the id of the job, until it is given up like any that
-- no message brings.
create function carillon_finish_export(
    p_job uuid, p_name text, p_type text, p_size bigint, p_url text, p_sha256 text, p_lasts interval
)
returns setof jsonb
language plpgsql volatile security definer set search_path = pg_catalog, public, pg_temp as $$
begin
    insert into message_attachments (id, file_name, file_type, file_size, file_url, created_at, uploader_id, kind, state, sha256,
        expires_at)
    select j.id, p_name, p_type, p_size, p_url, clock_timestamp(), j.requested_by, 'file', 'complete', p_sha256,
        clock_timestamp() + p_lasts
    from jobs j where j.id = p_job and j.state <> 'done';
    update jobs j set state = 'done', finished_at = clock_timestamp(), progress = j.total, leased_until = null
    where j.id = p_job and j.state <> 'done';
    return query select to_jsonb(j) from job_rows j where j.id = p_job;
end $$;

select carillon_hand_over();
-- Only for the functions that have checked.
revoke execute on function carillon_refuse_erased(text[]) from carillon_app;

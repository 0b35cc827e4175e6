-- What people report, what staff decide, and who may do nothing for a while.
--
-- Refusals beside those of 0021_blocks.sql; the text of the first is the moment at which the ban ends, in microseconds, or
-- nothing:
--   CAP03 banned   CAP04 one's own message   CAP05 no such report   CAP06 decided already   CAP07 only admins ban staff
--   CAP08 erased (the text is who)   CAP09 another job is under way

create table message_reports (
    id              uuid primary key,
    message_id      uuid not null constraint message_reports_message references messages (id),
    reporter_id     text collate "C" not null,
    reason          text not null
        constraint message_reports_reason
        check (reason in ('spam', 'harassment', 'hate', 'violence', 'sexual', 'fraud', 'other')),
    note            text,
    state           text not null default 'open'
        constraint message_reports_state check (state in ('open', 'resolved', 'dismissed')),
    created_at      timestamptz not null,
    decided_by      text collate "C",
    decided_at      timestamptz,
    decision_note   text,
    constraint message_reports_once unique (message_id, reporter_id),
    constraint message_reports_decided check ((state = 'open') = (decided_by is null) and (state = 'open') = (decided_at is null))
);

create index message_reports_by_age on message_reports (created_at, id);
create index message_reports_by_reporter on message_reports (reporter_id);
create index message_reports_by_state on message_reports (state, created_at, id);

select carillon_guard('message_reports');
select carillon_show_to_staff('message_reports');
create policy own_rows on message_reports for select to carillon_app using (reporter_id = (select carillon_caller()));

create view report_rows with (security_invoker = true) as
select
    r.id, r.message_id, m.conversation_id, m.sender_id, r.reporter_id, r.reason, r.note, r.state,
    carillon_micros(r.created_at) as created_at, r.decided_by, carillon_micros(r.decided_at) as decided_at, r.decision_note
from message_reports r join messages m on m.id = r.message_id;

grant select on message_reports, report_rows to carillon_app;
grant select on report_rows to carillon_definer;

-- Refuses whoever is banned or erased.
create function carillon_refuse_banned(p_caller text) returns void
language plpgsql volatile security definer set search_path = pg_catalog, public, pg_temp as $$
declare
    barred record;
begin
    select u.ban_expires_at, u.erased_at into barred from users u
    where u.id = p_caller and (
        u.erased_at is not null
        or (u.banned_at is not null and (u.ban_expires_at is null or u.ban_expires_at > clock_timestamp()))
    );
    if found and barred.erased_at is not null then
        raise exception '%', p_caller using errcode = 'CAP08';
    elsif found then
        raise exception '%', coalesce(carillon_micros(barred.ban_expires_at)::text, '') using errcode = 'CAP03';
    end if;
end $$;

-- Puts a message before staff, or answers what the caller reported before.
create function carillon_report(
    p_caller text, p_sees_all boolean, p_id uuid, p_message uuid, p_reason text, p_note text, p_trace uuid
)
returns table (created boolean, report jsonb, life bigint, channels text[], seqs bigint[], unread bigint[], at bigint)
language plpgsql volatile security definer set search_path = pg_catalog, public, pg_temp as $$
declare
    told messages;
    moment timestamptz := clock_timestamp();
begin
    select m.* into told from messages m
    where m.id = p_message and (p_sees_all or exists (
        select from conversation_participants p
        where p.conversation_id = m.conversation_id and p.user_id = p_caller and p.left_at is null
    ));
    if not found then
        raise exception 'no such message' using errcode = 'CA005';
    end if;
    if not exists (select from message_reports r where r.message_id = p_message and r.reporter_id = p_caller) then
        perform carillon_refuse_banned(p_caller);
        if told.sender_id = p_caller then
            raise exception 'one''s own' using errcode = 'CAP04';
        elsif told.deleted_at is not null then
            raise exception 'deleted' using errcode = 'CA006';
        end if;
        insert into message_reports (id, message_id, reporter_id, reason, note, created_at)
        values (p_id, p_message, p_caller, p_reason, p_note, moment) on conflict do nothing;
        if found then
            return query select * from carillon_tell_staff('report.created', p_id, p_trace, moment);
            return;
        end if;
    end if;
    return query
        select false, to_jsonb(r), null::bigint, null::text[], null::bigint[], null::bigint[], null::bigint
        from report_rows r where r.message_id = p_message and r.reporter_id = p_caller;
end $$;

-- Tells everyone who works here of a report.
create function carillon_tell_staff(p_kind text, p_report uuid, p_trace uuid, p_at timestamptz)
returns table (created boolean, report jsonb, life bigint, channels text[], seqs bigint[], unread bigint[], at bigint)
language sql volatile security definer set search_path = pg_catalog, public, pg_temp as $$
    select true, to_jsonb(r), e.life, e.channels, e.seqs, e.unread, e.at
    from report_rows r
    cross join lateral carillon_enter(
        array['role:admin', 'role:staff'], p_kind, r.conversation_id, r.message_id, r.reporter_id, p_trace, p_at
    ) e
    where r.id = p_report
$$;

-- Decides an open report, and tells everyone who works here. Of those who decide at once one does; the same by the same person
-- again changes nothing.
create function carillon_decide_report(p_caller text, p_id uuid, p_state text, p_note text, p_trace uuid)
returns table (created boolean, report jsonb, life bigint, channels text[], seqs bigint[], unread bigint[], at bigint)
language plpgsql volatile security definer set search_path = pg_catalog, public, pg_temp as $$
declare
    held message_reports;
    moment timestamptz;
begin
    select * into held from message_reports r where r.id = p_id for no key update;
    if not found then
        raise exception 'no such report' using errcode = 'CAP05';
    elsif held.state <> 'open' and (held.state <> p_state or held.decided_by <> p_caller) then
        raise exception 'decided' using errcode = 'CAP06';
    elsif held.state <> 'open' then
        return query select false, to_jsonb(r), null::bigint, null::text[], null::bigint[], null::bigint[], null::bigint
            from report_rows r where r.id = p_id;
        return;
    end if;
    perform carillon_refuse_banned(p_caller);
    moment := clock_timestamp();
    update message_reports r set state = p_state, decided_by = p_caller, decided_at = moment, decision_note = p_note
    where r.id = p_id;
    return query select * from carillon_tell_staff('report.updated', p_id, p_trace, moment);
end $$;

-- Bans somebody until then, or for good, or takes it back, and tells their devices: gateways close what is open. The same again
-- changes nothing and tells nobody.
create function carillon_set_ban(
    p_caller text, p_is_admin boolean, p_user text, p_bans boolean, p_reason text, p_expires timestamptz, p_trace uuid
)
returns table (created boolean, person jsonb, life bigint, channels text[], seqs bigint[], unread bigint[], at bigint)
language plpgsql volatile security definer set search_path = pg_catalog, public, pg_temp as $$
declare
    held users;
    moment timestamptz := clock_timestamp();
    is_banned boolean;
begin
    perform carillon_refuse_banned(p_caller);
    insert into users (id, role, seen_at) values (p_user, 'guest', moment) on conflict do nothing;
    select * into strict held from users u where u.id = p_user for no key update;
    if held.role <> 'guest' and not p_is_admin then
        raise exception 'not a guest' using errcode = 'CAP07';
    end if;
    is_banned := held.banned_at is not null and (held.ban_expires_at is null or held.ban_expires_at > moment);
    if is_banned = p_bans
        and (not p_bans or (held.ban_reason, held.ban_expires_at) is not distinct from (p_reason, p_expires)) then
        return query select false, to_jsonb(u), null::bigint, null::text[], null::bigint[], null::bigint[], null::bigint
            from user_rows u where u.id = p_user;
        return;
    end if;
    update users u set
        banned_at = case when p_bans then case when is_banned then u.banned_at else moment end end,
        ban_reason = case when p_bans then p_reason end, ban_expires_at = case when p_bans then p_expires end,
        banned_by = case when p_bans then p_caller end
    where u.id = p_user;
    return query
        select true, (select to_jsonb(u) from user_rows u where u.id = p_user), e.life, e.channels, e.seqs, e.unread, e.at
        from carillon_enter(
            array['user:' || p_user], case when p_bans then 'user.banned' else 'user.unbanned' end,
            null, null, p_user, p_trace, moment
        ) e;
end $$;

select carillon_hand_over();
-- Only for the functions that have checked.
revoke execute on function carillon_refuse_banned(text), carillon_tell_staff(text, uuid, uuid, timestamptz) from carillon_app;

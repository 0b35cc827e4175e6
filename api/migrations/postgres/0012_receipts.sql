-- What others see of how far somebody has received and read, of what they are doing, and of whether they are here.

-- What a person does not show. Without a row they show everything.
create table privacy_settings (
    user_id  text collate "C" primary key,
    receipts boolean not null default true,
    signs    boolean not null default true,
    presence boolean not null default true
);

select carillon_guard('privacy_settings');
create policy own_rows on privacy_settings for select to carillon_app using (user_id = (select carillon_caller()));
grant select on privacy_settings to carillon_app;

-- Changes those of the caller's settings that are in `p_changes`, and answers all of them as they were and as they are. Every row
-- of theirs says whether it is shown, so that nobody has to look here who reads it.
create function carillon_set_privacy(p_caller text, p_changes jsonb)
returns table (receipts boolean, signs boolean, presence boolean)
language plpgsql volatile security definer set search_path = pg_catalog, public, pg_temp as $$
#variable_conflict use_column
declare
    before privacy_settings;
    mine   privacy_settings;
begin
    insert into privacy_settings (user_id) values (p_caller) on conflict do nothing;
    select s.* into strict before from privacy_settings s where s.user_id = p_caller for no key update;
    update privacy_settings s set
        receipts = coalesce((p_changes ->> 'receipts')::boolean, s.receipts),
        signs = coalesce((p_changes ->> 'signs')::boolean, s.signs),
        presence = coalesce((p_changes ->> 'presence')::boolean, s.presence)
    where s.user_id = p_caller returning s.* into mine;
    perform from conversation_participants p
    where p.user_id = p_caller and p.shows_receipts <> mine.receipts order by p.conversation_id for no key update;
    update conversation_participants p set shows_receipts = mine.receipts, version = p.version + 1
    where p.user_id = p_caller and p.shows_receipts <> mine.receipts;
    return query values (before.receipts, before.signs, before.presence), (mine.receipts, mine.signs, mine.presence);
end $$;

-- Moves positions forwards as carillon_advance does, and with them how far each person has received every conversation of which
-- their feed told. Answers the participants of whom that changed. The rows are taken one by one in the order of all locks.
create function carillon_receive(p_positions jsonb) returns table (participant jsonb)
language plpgsql volatile security definer set search_path = pg_catalog, public, pg_temp as $$
declare
    users   text[];
    befores bigint[];
    afters  bigint[];
    reached record;
begin
    -- A person as a whole (device '') has received what any of their devices has.
    select array_agg(p.user_id), array_agg(coalesce(k.user_seq, 0)), array_agg(least(p.user_seq, f.seq))
    into users, befores, afters
    from jsonb_to_recordset(p_positions) p (user_id text, device_id text, epoch bigint, user_seq bigint)
    join fleet_state s on s.epoch = p.epoch
    join feeds f on f.channel = 'user:' || p.user_id
    left join acknowledgements k on k.user_id = p.user_id and k.device_id = '' and k.epoch = p.epoch
    where p.device_id = '' and p.user_seq > coalesce(k.user_seq, 0);
    perform carillon_advance(p_positions, false);
    for reached in
        select m.conversation_id, a.user_id, max(m.seq) as seq
        from unnest(users, befores, afters) a (user_id, before, after)
        join entries e on e.channel = 'user:' || a.user_id and e.seq > a.before and e.seq <= a.after
            and e.kind = 'new_message'
        join messages m on m.id = e.message_id and m.sender_id <> a.user_id
        group by m.conversation_id, a.user_id
        order by m.conversation_id, a.user_id collate "C"
    loop
        update conversation_participants p set last_delivered_seq = reached.seq, version = p.version + 1
        where p.conversation_id = reached.conversation_id and p.user_id = reached.user_id and p.left_at is null
            and p.last_delivered_seq < reached.seq;
        if found then
            return query
                select to_jsonb(p) from participant_rows p
                where p.conversation_id = reached.conversation_id and p.user_id = reached.user_id;
        end if;
    end loop;
end $$;

select carillon_hand_over();

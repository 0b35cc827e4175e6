-- What is sent along with messages. Bytes lie in the storage of attachments; here stands who announced them, what was found,
-- and which message brought them.
--
-- The way of one: reserved → complete → attached. Whatever no message has brought in time becomes expired, and goes.
--
-- Refusals, beside those of 0002_functions.sql; the text of each but the last is the id of the attachment:
--   CAA01 no such attachment   CAA02 not complete   CAA03 another message has it   CAA04 too many that no message has
--   CAA05 not of the kind that the message is

-- Reserves a place, or answers what the key reserved before.
create function carillon_reserve_attachment(
    p_caller text, p_id uuid, p_name text, p_type text, p_size bigint, p_url text, p_kind text, p_sha256 text,
    p_duration bigint, p_waveform jsonb, p_lasts interval, p_most bigint, p_key text, p_hash bytea
)
returns table (created boolean, attachment jsonb)
language plpgsql volatile security definer set search_path = pg_catalog, public, pg_temp as $$
declare
    made uuid := carillon_claim_key(p_caller, 'attachments', p_key, p_hash, p_id);
begin
    if made is null then
        perform carillon_refuse_banned(p_caller);
        if (select count(*) from message_attachments a where a.uploader_id = p_caller and a.message_id is null) >= p_most then
            raise exception 'too many attachments that no message has' using errcode = 'CAA04';
        end if;
        insert into message_attachments (id, file_name, file_type, file_size, file_url, created_at, uploader_id, kind, sha256,
            duration_ms, waveform, expires_at)
        values (p_id, p_name, p_type, p_size, p_url, clock_timestamp(), p_caller, p_kind, p_sha256, p_duration, p_waveform,
            clock_timestamp() + p_lasts);
    end if;
    return query select made is null, (select to_jsonb(a) from attachment_rows a where a.id = coalesce(made, p_id));
end $$;

-- Notes what was found in the bytes; twice is once. No row if there is no such attachment of the caller's.
create function carillon_complete_attachment(
    p_caller text, p_id uuid, p_sha256 text, p_width bigint, p_height bigint, p_thumbnail boolean
)
returns setof jsonb
language plpgsql volatile security definer set search_path = pg_catalog, public, pg_temp as $$
begin
    update message_attachments a
    set state = 'complete', sha256 = p_sha256, width = p_width, height = p_height, has_thumbnail = p_thumbnail
    where a.id = p_id and a.uploader_id = p_caller and a.state = 'reserved';
    return query select to_jsonb(a) from attachment_rows a
        where a.id = p_id and a.uploader_id = p_caller and a.state in ('complete', 'attached');
end $$;

-- Lets a message of the caller's bring these, in this order; all of them or none.
create function carillon_attach(p_caller text, p_message uuid, p_type text, p_ids uuid[]) returns void
language plpgsql volatile security definer set search_path = pg_catalog, public, pg_temp as $$
declare
    asked record;
begin
    -- In order, so that two messages that want the same ones wait for each other and do not cross.
    perform from message_attachments a where a.id = any (p_ids) order by a.id for update;
    for asked in
        select o.id, a.state, a.kind from unnest(p_ids) with ordinality o (id, place)
        left join message_attachments a on a.id = o.id and a.uploader_id = p_caller and a.state <> 'expired'
        order by o.place
    loop
        if asked.state is null then
            raise exception '%', asked.id using errcode = 'CAA01';
        elsif asked.state = 'reserved' then
            raise exception '%', asked.id using errcode = 'CAA02';
        elsif asked.state = 'attached' then
            raise exception '%', asked.id using errcode = 'CAA03';
        elsif p_type = 'voice' and asked.kind <> 'voice' then
            raise exception '%', asked.id using errcode = 'CAA05';
        end if;
    end loop;
    update message_attachments a set message_id = p_message, state = 'attached', place = o.place - 1, expires_at = null
    from unnest(p_ids) with ordinality o (id, place) where a.id = o.id;
end $$;

-- One whose bytes are there, for whoever bears a link that was given to someone who may see it.
create function carillon_linked_attachment(p_id uuid) returns setof jsonb
language sql stable security definer set search_path = pg_catalog, public, pg_temp as $$
    select to_jsonb(a) from attachment_rows a left join messages m on m.id = a.message_id
    where a.id = p_id and a.state in ('complete', 'attached')
        and (m.deleted_at is null or exists (select from forwarded_attachments f where f.attachment_id = a.id))
$$;

-- Gives up what no message has brought in time, so that none can any more, and answers the oldest of what is given up. They are
-- answered until they are forgotten: a worker that dies in between has left nothing behind.
create function carillon_expire_attachments(p_most bigint) returns setof uuid
language plpgsql volatile security definer set search_path = pg_catalog, public, pg_temp as $$
begin
    return query
        with late as (
            select a.id from message_attachments a where a.expires_at <= clock_timestamp()
            order by a.expires_at limit p_most for update skip locked
        )
        update message_attachments a set state = 'expired' from late where a.id = late.id returning a.id;
end $$;

-- Deletes the rows of what was given up, once their bytes are gone.
create function carillon_forget_attachments(p_ids uuid[]) returns void
language sql volatile security definer set search_path = pg_catalog, public, pg_temp as $$
    delete from message_attachments a where a.id = any (p_ids) and a.state = 'expired'
$$;

-- Until a message brings it, it is nobody's but its uploader's.
create policy own_uploads on message_attachments for select to carillon_app
    using (message_id is null and uploader_id = (select carillon_caller()));

select carillon_hand_over();
-- Attach to any message: only for the function that has checked.
revoke execute on function carillon_attach(text, uuid, text, uuid[]) from carillon_app;

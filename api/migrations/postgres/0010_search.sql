-- Search over the text of messages. Both databases split and fold text alike: letters and digits make words, everything else
-- separates them; case does not count, nor do the accents of Latin letters.

do $migration$
declare
    -- Unicode's letters and cases whatever the locale of the database, where the server was built to know them.
    unicode text := coalesce(
        (select '"und-x-icu"' from pg_collation
         where collname = 'und-x-icu' and collnamespace = 'pg_catalog'::regnamespace),
        '"default"'
    );
begin
    -- In any other encoding the first accent would fail, and with it the message.
    if getdatabaseencoding() <> 'UTF8' then
        raise exception 'the database is encoded in % and must be in UTF8', getdatabaseencoding();
    end if;
    -- Accents are taken from Latin letters only, as SQLite's tokenizer does: without them й would be и.
    execute format($function$
        create function carillon_words(text) returns text language sql immutable strict parallel safe
        return regexp_replace(
            normalize(regexp_replace(normalize(lower($1 collate %1$s), nfd), '([a-z])[\u0300-\u036f]+', '\1', 'g'), nfc)
                collate %1$s,
            '[^[:alnum:]]+', ' ', 'g'
        )
    $function$, unicode);
end $migration$;

-- What narrows a search beside its words. No word has a colon, so these cannot be mistaken for any.
create function carillon_marks(p_conversation uuid, p_sender text, p_text text) returns tsvector
language sql immutable strict parallel safe
return array_to_tsvector(
    array['in:' || p_conversation::text, 'from:' || p_sender]
        || case when p_text ~* 'https?://' then array['has:link'] else '{}' end
);

-- A text is at most 64 KiB, so its vector stays below the limit of 1 MiB; a word of more than 2 KiB is left out, and the message
-- is kept all the same.
alter table messages add column words tsvector generated always as (
    to_tsvector('simple', carillon_words(message_text)) || carillon_marks(conversation_id, sender_id, message_text)
) stored;

-- Each message pays for its own words: a list of pending ones would be merged at the expense of one unlucky sender.
create index messages_by_words on messages using gin (words) with (fastupdate = off) where deleted_at is null;
-- Of deleted ones too: where nothing was analysed yet PostgreSQL takes almost all for deleted, and would go through an index of all
-- others beside any other one.
create index messages_by_age on messages (created_at desc, id desc);

-- The newest messages that match, of those that the caller may see. No policy lets an index answer `@@` before it has looked at
-- each row, so the finding is done here, under the same rule as the policies; whoever calls reads the rows under theirs.
-- Terms are arrays side by side: their words, whether the last is the beginning of one, and whether they must be absent.
-- The plan depends on how common the words are, so it is made anew for each search.
-- A page is short: taken for a thousand rows, it would have whoever calls look through all conversations for theirs.
create function carillon_search(
    p_terms text[], p_beginnings boolean[], p_absent boolean[],
    p_from text, p_in uuid, p_link boolean, p_attachment boolean, p_since timestamptz, p_before timestamptz,
    p_after_at timestamptz, p_after_id uuid, p_limit bigint
) returns setof uuid
language plpgsql stable security definer rows 50
set search_path = pg_catalog, public, pg_temp set plan_cache_mode = force_custom_plan as $$
declare
    -- The conversations to look into; null for all of them.
    places uuid[];
    wanted text[];
    query  tsquery;
begin
    if carillon_caller_role() in ('staff', 'admin', 'service') then
        places := case when p_in is not null then array[p_in] end;
    else
        places := array(select own from carillon_own_conversations() own where p_in is null or own = p_in);
    end if;
    -- What PostgreSQL writes of a query or a vector is quoted as it reads it, so nothing here can be taken for an operator.
    wanted := array(
        select case when absent then '!' else '' end || '(' || phrase || case when beginning then ':*' else '' end || ')'
        from (
            select phraseto_tsquery('simple', carillon_words(t.words))::text as phrase, t.beginning, t.absent
            from unnest(p_terms, p_beginnings, p_absent) as t (words, beginning, absent)
        ) term
        where phrase <> ''
    );
    -- No text has what this server does not take for a word.
    if exists (
        select from unnest(p_terms, p_absent) as t (words, absent)
        where not t.absent and numnode(phraseto_tsquery('simple', carillon_words(t.words))) = 0
    ) then
        return;
    end if;
    if p_from is not null then
        wanted := wanted || array_to_tsvector(array['from:' || p_from])::text;
    end if;
    if p_link then
        wanted := wanted || array_to_tsvector(array['has:link'])::text;
    end if;
    -- The index then reads only what the caller may see. It compares every message with every place, so of many it is told nothing,
    -- and the rows are left out one by one.
    if cardinality(places) <= 100 then
        wanted := wanted || (select '(' || string_agg('''in:' || place || '''', ' | ') || ')' from unnest(places) place);
    end if;
    query := nullif(array_to_string(wanted, ' & '), '')::tsquery;
    return query
        select m.id from messages m
        where m.deleted_at is null
            and (places is null or m.conversation_id = any (places))
            and (query is null or m.words @@ query)
            and (p_since is null or m.created_at >= p_since)
            and (p_before is null or m.created_at < p_before)
            and (p_after_at is null or (m.created_at, m.id) < (p_after_at, p_after_id))
            and not exists (select from message_hides h where h.user_id = carillon_caller() and h.message_id = m.id)
            and not exists (select from user_blocks b where b.user_id = carillon_caller() and b.blocked_id = m.sender_id)
            and (not p_attachment or exists (select from brought_attachments a where a.brought_by = m.id))
        order by m.created_at desc, m.id desc
        limit p_limit;
end $$;

select carillon_hand_over();

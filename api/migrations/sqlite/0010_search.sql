-- Search over the text of messages. Both databases split and fold text alike: letters and digits make words, everything else
-- separates them; case does not count, nor do the accents of Latin letters.

-- The number under which the words of a message are kept. The rowid of messages will not do: vacuum may give others.
create table searchable_messages (
    docid      integer primary key,
    message_id blob not null constraint searchable_messages_message unique references messages (id)
) strict;

-- Only the index: the texts stand in messages.
create virtual table message_words using fts5 (
    message_text, content = '', contentless_delete = 1, tokenize = 'unicode61 remove_diacritics 2'
);

create index messages_by_age on messages (created_at, id) where deleted_at is null;

create trigger messages_become_searchable after insert on messages begin
    insert into searchable_messages (message_id) values (new.id);
    insert into message_words (rowid, message_text)
    select s.docid, new.message_text from searchable_messages s where s.message_id = new.id and new.deleted_at is null;
end;

create trigger messages_stay_searchable after update of message_text, deleted_at on messages begin
    delete from message_words where rowid = (select s.docid from searchable_messages s where s.message_id = new.id);
    insert into message_words (rowid, message_text)
    select s.docid, new.message_text from searchable_messages s where s.message_id = new.id and new.deleted_at is null;
end;

insert into searchable_messages (message_id) select id from messages order by created_at, id;
insert into message_words (rowid, message_text)
select s.docid, m.message_text from searchable_messages s join messages m on m.id = s.message_id where m.deleted_at is null;

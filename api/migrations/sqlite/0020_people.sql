-- What is known of people. Services say it; the people and those who share a conversation with them are told.

create view user_rows as
select
    id, role, name, avatar_url, email, locale, time_zone, version, updated_at,
    json_object(
        'id', id, 'role', role, 'name', name, 'avatar_url', avatar_url, 'email', email, 'locale', locale,
        'time_zone', time_zone, 'version', version, 'updated_at', updated_at
    ) as json
from users;

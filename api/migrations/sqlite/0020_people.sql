-- What is known of people. Services say it; the people and those who share a conversation with them are told.

create view user_rows as
with shown as (
    select
        u.*,
        case when banned_at is not null and coalesce(ban_expires_at > unixepoch('subsec') * 1000000, true) then
            json_object('reason', ban_reason, 'banned_at', banned_at, 'expires_at', ban_expires_at, 'banned_by', banned_by)
        end as ban
    from users u
)
select
    id, role, name, avatar_url, email, locale, time_zone, version, updated_at, erased_at, ban,
    json_object(
        'id', id, 'role', role, 'name', name, 'avatar_url', avatar_url, 'email', email, 'locale', locale,
        'time_zone', time_zone, 'version', version, 'updated_at', updated_at, 'erased_at', erased_at,
        'ban', json(ban)
    ) as json
from shown;

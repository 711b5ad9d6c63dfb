-- Who belongs to this platform, and their keys: asked of the directory with the machine's own account.
--
-- Of an answer one entry is read, and nothing after it: what lualdap 1.3 reads to its end is released twice. Where there may be no
-- entry at all (keys), only a program asks that ends right afterwards, without collecting its garbage.
local lualdap = require "lualdap"
local settings = dofile "/etc/placo/people.lua"
local connection

-- The values of an attribute; nil where there is no entry, or the directory does not answer.
local function values(base, scope, filter, attribute)
    connection = connection or lualdap.open_simple(settings.server, settings.account, settings.password, false)
    if not connection then return nil end
    local query = { base = base, scope = scope, filter = filter, attrs = { attribute }, sizelimit = 1 }
    local asked, iterator, invariant, initial = pcall(connection.search, connection, query)
    local answered, found, entry = pcall(asked and iterator or error, invariant, initial)
    if not answered or not found then
        connection = nil
        return nil
    end
    local listed = entry[attribute]
    return type(listed) == "table" and listed or { listed }
end

local people = {}

-- Names that stand in paths, in files of accounts and in filters.
local function plain(uid)
    return uid and #uid <= 32 and uid:match "^[a-z0-9][a-z0-9._-]*$"
end

-- uid -> DN of a group ("members", "owners"); nil while the directory does not answer. It is asked once more when its first answer
-- failed: a connection that was idle may have been closed.
function people.group(name)
    local function asked() return values(settings[name], "base", "(objectClass=groupOfNames)", "member") end
    local listed = asked() or asked()
    if not listed then return nil end
    local known = {}
    for _, person in ipairs(listed) do
        local uid = plain((person:match "^uid=([^,]+)," or ""):lower())
        if uid then known[uid] = person end
    end
    return known
end

-- The public keys of somebody.
function people.keys(uid)
    return plain(uid) and values(settings.keys, "subtree", "(uid=" .. uid .. ")", "sshPublicKey") or {}
end

-- Whether the time of the person with this DN is not over: a password would be refused by the directory then, a key is ours to refuse.
-- Nobody where it does not answer, or does not let us ask.
function people.lasts(person)
    local now = os.date "!%Y%m%d%H%M%SZ"
    return values(person, "base", "(!(pwdEndTime<=" .. now .. "))", "uid") ~= nil
end

-- Whether this is the password of the person with this DN.
function people.proves(person, password)
    -- An empty password would be no password at all to a directory (RFC 4513, 5.1.2).
    return password ~= "" and lualdap.open_simple(settings.server, person, password, false) ~= nil
end

return people

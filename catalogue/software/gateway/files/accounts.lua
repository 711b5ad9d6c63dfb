-- The accounts of members: who is none does not exist. A person's number and home are kept on the data volume, and are theirs again
-- should they come back.
local posix = require "posix"
local numbers_file, accounts_file, homes = "/srv/placo/gateway/numbers", "/var/lib/extrausers/passwd", "/srv/placo/gateway/home"
local first, last, group = 20000, 59999, 19999
local numbers, highest, written = {}, first - 1, nil

for line in io.lines(numbers_file) do
    local uid, number = line:match "^(%S+) (%d+)$"
    if uid then
        numbers[uid] = tonumber(number)
        highest = math.max(highest, numbers[uid])
    end
end

-- The whole file or the one before.
local function put(path, text)
    local file = assert(io.open(path .. ".new", "w"))
    assert(file:write(text))
    assert(file:flush())
    posix.fsync(posix.fileno(file))
    assert(file:close())
    assert(os.rename(path .. ".new", path))
end

-- A number that nobody has, remembered before it is used.
local function number_of(uid)
    if not numbers[uid] and highest < last then
        highest = highest + 1
        numbers[uid] = highest
        local lines = {}
        for name, number in pairs(numbers) do lines[number - first + 1] = name .. " " .. number .. "\n" end
        put(numbers_file, table.concat(lines))
    end
    return numbers[uid]
end

-- Accounts for exactly these people. Names of the system's own accounts are never anybody's: sshd admits none outside our group.
return function (known)
    local lines = {}
    for uid in pairs(known) do
        local number = number_of(uid)
        if number then
            local home = homes .. "/" .. uid
            if not posix.access(home) then
                assert(posix.mkdir(home) and posix.chmod(home, "rwx------") and posix.chown(home, number, group))
            end
            table.insert(lines, ("%s:x:%d:%d::%s:/bin/bash\n"):format(uid, number, group, home))
        end
    end
    table.sort(lines)
    local text = table.concat(lines)
    if text ~= written then
        put(accounts_file, text)
        written = text
    end
end

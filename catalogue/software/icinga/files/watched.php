<?php
// Asks the directory every few seconds which services the platform has and who its owners are, and tells Icinga and its web
// interface when that has changed. While the directory does not answer, nothing changes.

const EVERY_S = 5;
const WATCHED = '/etc/icinga2/placo-platform.conf';
const ROLES = '/etc/icingaweb2/roles.ini';
// As the portal writes them: a URI and which services it is of (RFC 2079).
const ADDRESS = '#\A(https|imaps|smtp|submissions|ssh|xmpps)://([a-z0-9-]+)(\.[a-z0-9.-]+):([0-9]{1,5}) ([a-z0-9 -]+)\z#';

$settings = json_decode(file_get_contents('/etc/placo/monitoring/watched.json'), true);
ldap_set_option(null, LDAP_OPT_X_TLS_CACERTFILE, $settings['ca_file']);
ldap_set_option(null, LDAP_OPT_X_TLS_REQUIRE_CERT, LDAP_OPT_X_TLS_HARD);
ldap_set_option(null, LDAP_OPT_NETWORK_TIMEOUT, 5);
ldap_set_option(null, LDAP_OPT_TIMELIMIT, 5);

function connect(array $settings)
{
    $directory = ldap_connect($settings['uri']);
    ldap_set_option($directory, LDAP_OPT_PROTOCOL_VERSION, 3);
    return @ldap_bind($directory, $settings['bind_dn'], $settings['bind_password']) ? $directory : null;
}

// The values of an attribute of one entry; null when the directory does not answer.
function values($directory, string $dn, string $attribute): ?array
{
    $found = @ldap_read($directory, $dn, '(objectClass=*)', [$attribute], 0, 0, 5);
    if (!$found) {
        return null;
    }
    $values = ldap_get_entries($directory, $found)[0][strtolower($attribute)] ?? ['count' => 0];
    unset($values['count']);
    sort($values);
    return $values;
}

// What Icinga is to watch: a host a machine, a service a port of it.
function watched(array $addresses, string $self): string
{
    $hosts = $services = [];
    foreach ($addresses as $address) {
        if (!preg_match(ADDRESS, $address, $part)) {
            fwrite(STDERR, "an address that nobody can watch: $address\n");
            continue;
        }
        [, $protocol, $machine, $domain, $port, $of] = $part;
        $hosts[$machine] = "object Host \"$machine\" {\n  import \"placo-machine\"\n  address = \"$machine$domain\"\n}\n";
        $prefix = ['https' => 'http', 'ssh' => 'ssh'][$protocol] ?? 'tcp';
        $services[] = "object Service \"$protocol-$port\" {\n  import \"placo-$protocol\"\n  host_name = \"$machine\"\n"
            . "  display_name = \"$of ($protocol)\"\n  vars.{$prefix}_port = $port\n}\n";
    }
    if (isset($hosts[$self])) {
        $services[] = "object Service \"space\" {\n  import \"placo-service\"\n  host_name = \"$self\"\n  check_command = \"disk\"\n"
            . "  check_interval = 5m\n  display_name = \"Space for its data\"\n  vars.disk_partitions = \"/srv/placo\"\n}\n";
    }
    return implode("\n", [...array_values($hosts), ...$services]);
}

// Owners may do what Icinga lets one do to what is watched, members look.
function roles(array $owners): string
{
    $uids = [];
    foreach ($owners as $dn) {
        if (preg_match('/\Auid=([A-Za-z0-9._-]+),/', $dn, $part)) {
            $uids[] = $part[1];
        }
    }
    $look = 'module/monitoring,application/log';
    $members = "[members]\nusers = \"*\"\npermissions = \"module/monitoring\"\nmonitoring/blacklist/properties = \"*pw*,*pass*\"\n";
    return $uids
        ? $members . "\n[owners]\nusers = \"" . implode(',', $uids) . "\"\npermissions = \"$look,monitoring/command/*\"\n"
        : $members;
}

function replaced(string $file, string $text, string $group): bool
{
    if (@file_get_contents($file) === $text) {
        return false;
    }
    file_put_contents("$file.new", $text);
    chgrp("$file.new", $group);
    chmod("$file.new", 0640);
    rename("$file.new", $file);
    return true;
}

$directory = null;
$running = false;
while (true) {
    $directory = $directory ?? connect($settings);
    $addresses = $directory ? values($directory, $settings['services_dn'], 'labeledURI') : null;
    $owners = $addresses !== null ? values($directory, $settings['owners_dn'], 'member') : null;
    if ($owners === null) {
        $directory = null;
    } else {
        replaced(ROLES, roles($owners), 'icingaweb2');
        if (replaced(WATCHED, watched($addresses, $settings['self']), 'nagios') || !$running) {
            exec('systemctl --no-block reload-or-restart icinga2.service', $said, $status);
            $running = $status === 0;
        }
    }
    sleep(EVERY_S);
}

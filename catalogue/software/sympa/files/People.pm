# Who is who: accounts of the directory, and the addresses by which Sympa knows people.
#
# `follow` asks the directory every two seconds, writes down what it says, and has Sympa follow: who is removed is on no list any
# more, who has another address is the same person, lists of members have the members of now. While the directory does not answer,
# nothing changes.
package Placo::People;

use strict;
use warnings;
use JSON::PP ();
use Net::LDAP;
use IO::Socket::SSL ();
use Conf;
use Sympa;
use Sympa::DatabaseManager;
use Sympa::List;
use Sympa::Log;
use Sympa::Message;
use Sympa::Spindle::ProcessRequest;
use Sympa::Tools::Text;
use Sympa::WWW::FastCGI;
use Sympa::WWW::Session;

use constant {
    EVERY_S  => 2,
    PATIENCE_S => 5,
    SETTINGS => '/etc/placo/lists/people.json',
    RUN      => '/run/placo/lists',
    STATE    => '/srv/placo/lists/people',
    FIRST    => '/srv/placo/lists/first',
    READY    => '/run/sympa/ready',
};

my $settings;    # of this machine: people.json.j2

# Only root may.
sub read_settings {
    $settings = JSON::PP->new->decode(slurp(SETTINGS) // die SETTINGS . ": $!\n");
    for my $folder ('/run/placo', RUN) {
        mkdir $folder, 0755;
    }
    chown +(getpwnam 'sympa')[2, 3], RUN;
}

# --- what Sympa is told of people -------------------------------------------------------------------------------------------

# Whom Apache has let in is who is there, whatever a cookie says; and who writes from another address is the same person.
sub join_sympa {
    no warnings 'redefine';
    my ($session, $sender, $request) =
        (\&Sympa::WWW::Session::new, \&Sympa::Message::_get_sender_email, \&Sympa::WWW::FastCGI::new);
    *Sympa::WWW::Session::new = sub {
        my $self = $session->(@_) or return;
        my $person = known()->{by_uid}{lc($ENV{REMOTE_USER} // '')};
        delete $self->{restore_email};
        $self->{email} = $person ? $person->{address} : 'nobody';
        return $self;
    };
    *Sympa::Message::_get_sender_email = sub {
        my ($address, $name) = $sender->(@_);
        my $person = defined $address && known()->{by_other}{$address};
        return ($person ? $person->{address} : $address, $name);
    };
    *Sympa::WWW::FastCGI::new = sub {
        put(READY, "ok\n") unless -e READY;
        return $request->(@_);
    };
}

my ($known, $age) = ({by_uid => {}, by_other => {}}, '');

# uid -> person, other address -> person; a person has uid, address, other (may be empty), owner (1 or 0), name.
sub known {
    my $now = join ' ', (stat RUN . '/people')[1, 9];
    if ($now ne $age) {
        my %people = people_of(slurp(RUN . '/people') // '');
        $known = {by_uid => \%people, by_other => {map { ($_->{other} => $_) } grep { length $_->{other} } values %people}};
        $age = $now;
    }
    return $known;
}

sub people_of {
    my ($text) = @_;
    my %people;
    for my $line (split /\n/, $text) {
        my %person;
        @person{qw(uid address other owner name)} = split /\t/, $line, 5;
        $people{$person{uid}} = \%person;
    }
    return %people;
}

# --- the directory -------------------------------------------------------------------------------------------------------------

sub follow {
    Conf::load() or die "Sympa's settings cannot be read\n";
    my $log = Sympa::Log->instance;
    $log->{level} = $Conf::Conf{log_level};
    $log->openlog($Conf::Conf{syslog}, $Conf::Conf{log_socket_type});
    my ($directory, $before) = (undef, slurp(STATE) // '');
    while (1) {
        $directory //= connected();
        my $now = $directory && eval { as_text(asked($directory)) };
        if (!defined $now) {
            print STDERR "the directory: $@" if $directory;
            undef $directory;
        }
        elsif (length $now && ($now ne (slurp(RUN . '/people') // '') || $now ne $before)) {
            write_down($now);
            if (eval { sympa_follows($before, $now); 1 }) {
                put(STATE, $before = $now);
            }
            else {
                print STDERR "lists do not follow: $@";
            }
        }
        sleep EVERY_S;
    }
}

sub connected {
    my $directory = Net::LDAP->new($settings->{uri}, timeout => PATIENCE_S, verify => 'require', cafile => $settings->{ca_file})
        or return;
    return $directory->bind($settings->{bind_dn}, password => $settings->{bind_password})->code ? undef : $directory;
}

# People by uid. Those that a proof makes up (g-0-...) are nobody here. With the service Mail, people have the addresses that it gives.
sub asked {
    my ($directory) = @_;
    my %owner = map { /\Auid=([A-Za-z0-9._-]+),/i ? (lc($1) => 1) : () }
        map { $_->get_value('member') } found($directory, $settings->{owners_dn}, 'base', '(objectClass=*)', 'member');
    my $has_mail = grep { /\Asmtp:\S+ (?:\S+ )*webmail(?: |\z)/ }
        map { $_->get_value('labeledURI') } found($directory, $settings->{services_dn}, 'base', '(objectClass=*)', 'labeledURI');
    my %people;
    for my $entry (found($directory, $settings->{people_base}, 'sub', '(&(objectClass=inetOrgPerson)(!(uid=g-0-*)))', qw(uid cn mail))) {
        my ($uid, $name) = (lc $entry->get_value('uid'), $entry->get_value('cn') // '');
        my @addresses = grep { defined && Sympa::Tools::Text::valid_email($_) && length $_ <= 100 }
            ($has_mail ? "$uid\@$settings->{mail_domain}" : undef, lc($entry->get_value('mail') // ''));
        next unless @addresses;
        s/[\x00-\x1f\x7f]+/ /g for $name;
        $people{$uid} = {uid => $uid, address => $addresses[0], other => $addresses[1] // '', owner => $owner{$uid} // 0, name => $name};
    }
    return \%people;
}

sub found {
    my ($directory, $base, $scope, $filter, @attributes) = @_;
    my $answer = $directory->search(
        base => $base, scope => $scope, filter => $filter, attrs => \@attributes, timelimit => PATIENCE_S);
    die $answer->error . "\n" if $answer->code;
    return $answer->entries;
}

sub as_text {
    my ($people) = @_;
    return join '', map { join("\t", @{$people->{$_}}{qw(uid address other owner name)}) . "\n" } sort keys %$people;
}

# What Sympa reads: lists of addresses to include, and of who may create lists (data_sources, search_filters).
sub write_down {
    my ($text) = @_;
    my %people = people_of($text);
    my @people = @people{sort keys %people};
    my $lines  = sub { join '', map { "$_->{address} $_->{name}\n" } @_ };
    put(RUN . '/members', $lines->(@people));
    put(RUN . '/owners',  $lines->(grep { $_->{owner} } @people));
    put(RUN . '/owners.txt', join '', map { "$_->{address}\n" } grep { $_->{owner} } @people);
    put(RUN . '/people', $text);
}

# --- Sympa --------------------------------------------------------------------------------------------------------------------

sub sympa_follows {
    my ($before, $now) = @_;
    my $domain = $Conf::Conf{domain};
    my (%before, %now) = ();
    %before = people_of($before);
    %now    = people_of($now);
    my %used   = map { ($_->{address} => 1) } values %now;
    my @former = grep { !$used{$_->{address}} } values %before;
    for my $person (grep { !$now{$_->{uid}} } @former) {
        forget($domain, $_) for grep { length && !$used{$_} } @$person{qw(address other)};
    }
    make_first_lists($domain) unless -e FIRST;
    for my $list (@{Sympa::List::get_lists($domain) || []}) {
        for my $role (qw(member owner editor)) {
            $list->sync_include($role) // die "list $list->{name}: $role\n";
        }
    }
    # Where people are by themselves, not as members.
    for my $person (grep { $now{$_->{uid}} } @former) {
        request($domain, 'move_user', current_email => $person->{address}, email => $now{$person->{uid}}{address});
    }
}

# Off all lists, in every role, without a farewell.
sub forget {
    my ($domain, $address) = @_;
    for my $list (Sympa::List::get_which($address, $domain, 'member')) {
        $list->delete_list_member([$address]);
    }
    for my $role (qw(owner editor)) {
        for my $list (Sympa::List::get_which($address, $domain, $role)) {
            $list->delete_list_admin($role, [$address]);
        }
    }
    print STDERR "$address is on no list any more\n";
}

# Once: an owner may have closed them since.
sub make_first_lists {
    my ($domain) = @_;
    for my $first (@{$settings->{first_lists}}) {
        next if Sympa::List->new($first->{name}, $domain, {just_try => 1});
        request($domain, 'create_list',
            parameters => {
                listname      => $first->{name},
                type          => $first->{type},
                subject       => $first->{subject},
                description   => $first->{subject},
                topics        => 'other',
                owner_include => [{source => 'owners'}],
            });
    }
    put(FIRST, "made\n");
}

sub request {
    my ($domain, $action, %what) = @_;
    my $spindle = Sympa::Spindle::ProcessRequest->new(
        context          => $domain,
        action           => $action,
        sender           => Sympa::get_address($domain, 'listmaster'),
        scenario_context => {skip => 1},
        %what,
    );
    $spindle && $spindle->spin && $spindle->success or die "$action was refused\n";
}

# --- files ----------------------------------------------------------------------------------------------------------------------

sub slurp {
    my ($path) = @_;
    open(my $file, '<:raw', $path) or return;
    local $/;
    return scalar <$file>;
}

# Renamed into place: whoever reads it sees the old file or the new one, whole.
sub put {
    my ($path, $text) = @_;
    open(my $file, '>:raw', "$path.new") or die "$path: $!\n";
    print $file $text;
    close $file or die "$path: $!\n";
    rename "$path.new", $path or die "$path: $!\n";
}

1;

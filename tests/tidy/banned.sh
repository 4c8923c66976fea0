#!/bin/bash
# What no file may hold: unsafe calls (in what we ship also others that have a better way here), unfinished
# work, control characters, too many lines.  base/ is where the better ways are made.
set -u
cd "$(dirname "$0")/../.." || exit 2
sources() { find base api store raft fence net storage reconciler cmd tests -name '*.[ch]' 2>/dev/null | sort; }
texts() {
    find base api store raft fence net storage reconciler cmd tests docs examples packaging -type f \
        \( -name '*.[ch]' -o -name '*.md' -o -name '*.sh' -o -name '*.py' -o -name '*.yaml' -o -name '*.service' \) \
        ! -path 'tests/tidy/*' ! -path 'tests/fuzz/corpus/*' ! -path 'tests/fixtures/*' 2>/dev/null | sort
    ls Makefile README.md 2>/dev/null
}

perl - $(sources) <<'PERL'
use strict;
use warnings;
my %max_lines = (ship => 700, tests => 1300);
my %max_function = (ship => 100, tests => 120);
my %unsafe = (strcpy => 'str_copy', strcat => 'buf_add_str', sprintf => 'snprintf', vsprintf => 'vsnprintf');
my %instead = ( # in what we ship
    %unsafe,
    atoi => 'str_parse_i64', atol => 'str_parse_i64', atoll => 'str_parse_i64', atof => 'strtod',
    system => 'posix_spawn', popen => 'posix_spawn', usleep => 'nanosleep', strtok => 'strtok_r',
    rand => 'prng_below', srand => 'prng_init', tmpnam => 'mkstemp', mktemp => 'mkstemp',
    alloca => 'an arena', gmtime => 'gmtime_r', localtime => 'localtime_r',
    time => 'clock_wall_ms',
);
my ($bad, %guards) = (0);
sub line_at { return 1 + (substr($_[0], 0, $_[1]) =~ tr/\n//); }
sub say_bad { print STDERR "@_\n"; $bad = 1; }
for my $f (@ARGV) {
    open my $h, '<', $f or next;
    local $/;
    my $text = <$h>;
    my $code = $text;
    # comments and literals become blanks; the lines stay
    $code =~ s{(/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')}{(my $x = $1) =~ s/[^\n]/ /g; $x}gse;
    my $lines = $text =~ tr/\n//;
    my $where = $f =~ m{^tests/} ? 'tests' : 'ship';
    my $max_function = $max_function{$where};
    say_bad("$f: $lines lines; split it (at most $max_lines{$where})") if $lines > $max_lines{$where};
    if ($f !~ m{^base/}) {
        my $ban = $f =~ m{^tests/} ? \%unsafe : \%instead;
        my $names = join '|', sort keys %$ban;
        while ($code =~ /(?<![\w.>])($names)\s*\(/g) {
            my $name = $1;
            say_bad("$f:" . line_at($code, $-[0]) . ": $name() is banned; use $ban->{$name}");
        }
    }
    # functions, as clang-format lays them out: braces in the first column
    my ($start, $n) = (0, 0);
    for my $line (split /\n/, $code, -1) {
        $n++;
        if ($line =~ /^\{\s*$/) { $start = $n; }
        elsif ($line =~ /^\}\s*$/ && $start) {
            my $len = $n - $start + 1;
            say_bad("$f:$start: a function of $len lines (at most $max_function)") if $len > $max_function;
            $start = 0;
        }
    }
    if ($f =~ /\.h$/ && $f !~ m{^tests/(fuzz|tools)/}) {
        if ($code =~ /^\s*#ifndef (\w+_H)\n#define \1\n/ && $code =~ /#endif\s*$/) {
            my $guard = $code =~ /^\s*#ifndef (\w+)/ ? $1 : '';
            say_bad("$f: header guard $guard is also in $guards{$guard}") if $guards{$guard};
            $guards{$guard} = $f;
        } else {
            say_bad("$f: no header guard (#ifndef FOLDER_NAME_H, #define, ..., #endif) around the file");
        }
    }
}
exit $bad;
PERL
bad=$?

if texts | xargs grep -nHE '\b(TODO|FIXME|XXX|HACK)\b' >&2; then
    echo "unfinished work: finish it, or open an issue" >&2
    bad=1
fi
if texts | xargs grep -nHP '[\x00-\x08\x0b-\x1f\x7f]' >&2; then
    echo "control characters in the files above" >&2
    bad=1
fi
if sources | xargs grep -nHP '\t| +$' >&2; then
    echo "tabs or spaces at the end of a line above: clang-format-14 -i" >&2
    bad=1
fi
exit $bad

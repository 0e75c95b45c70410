# Makes the corpus's requests with one of Perl's clients: HTTP::Tiny or LWP. The
# last argument is the folder with targets.txt and files.txt; BASE and FILES are in
# the environment.
use strict;
use warnings;

my ($who, $here) = @ARGV;
my @targets;
for (['targets.txt', $ENV{BASE}], ['files.txt', $ENV{FILES}]) {
    my ($name, $base) = @$_;
    open my $lines, '<:raw', "$here/$name" or die "$name: $!";
    while (my $line = <$lines>) { chomp $line; push @targets, $base . $line }
}
my $binary = join '', map { chr } 0 .. 255;
my @bodies = ('', 'x', $binary, $binary x 256, $binary x 256 . 'x', $binary x 4096);

my $send;
if ($who eq 'HTTP::Tiny') {
    require HTTP::Tiny;
    my $client = HTTP::Tiny->new(timeout => 30);
    $send = sub {
        my ($method, $url, $body) = @_;
        my $answer = $client->request($method, $url, { defined $body ? (content => $body) : () });
        die "$method $url: $answer->{content}" if $answer->{status} == 599;
    };
} else {
    require LWP::UserAgent;
    require HTTP::Request;
    my $client = LWP::UserAgent->new(timeout => 30, keep_alive => 1);
    $send = sub {
        my ($method, $url, $body) = @_;
        my $request = HTTP::Request->new($method, $url);
        if (defined $body) {
            $request->header('Content-Length' => length $body) unless ref $body;
            $request->content($body);
        }
        $client->request($request);
    };
}
$send->('GET', $_) for @targets;
$send->('POST', "$ENV{BASE}/body", $_) for @bodies;
my @parts = ('abc', $binary x 300);
$send->('PUT', "$ENV{BASE}/body", sub { @parts ? shift @parts : '' });
$send->($_, "$ENV{BASE}/method?x", 'x') for qw(PUT PATCH);
$send->($_, "$ENV{BASE}/method?x") for qw(HEAD DELETE OPTIONS);

package natcheck

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/tcppunch/tcppunch/stunt/stun"
	"github.com/tcppunch/tcppunch/tcppunch/natlab"
)

// Other people's clients understand our server. Debian's stun-client is not among them: it speaks RFC 3489 only, without the
// magic cookie.
func TestForeignClients(t *testing.T) {
	server := serve(t, ServerConfig{Host: loop, Alt: other})
	port := fmt.Sprint(server.cfg.Ports[0])
	for _, tt := range []struct {
		args []string
		says []string
	}{
		{[]string{"turnutils_stunclient", "-p", port, "127.0.0.1"}, []string{
			fmt.Sprintf("Response origin: : 127.0.0.1:%d", server.cfg.Ports[0]), fmt.Sprintf("Response origin: : 127.0.0.2:%d", server.cfg.Ports[1]),
			fmt.Sprintf("Other addr: : 127.0.0.2:%d", server.cfg.Ports[1]), "UDP reflexive addr: 127.0.0.1:",
		}},
		{[]string{"turnutils_natdiscovery", "-m", "-f", "-p", port, "127.0.0.1"}, []string{
			"Endpoint Independent Mapping", "Endpoint Independent Filtering",
		}},
	} {
		t.Run(tt.args[0], func(t *testing.T) {
			t.Parallel()
			if _, err := exec.LookPath(tt.args[0]); err != nil {
				t.Skipf("%s is not installed (Debian's package coturn)", tt.args[0])
			}
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			out, err := exec.CommandContext(ctx, tt.args[0], tt.args[1:]...).CombinedOutput()
			for _, s := range tt.says {
				if !strings.Contains(string(out), s) {
					t.Errorf("%v: does not say %q (%v):\n%s", tt.args, s, err, out)
				}
			}
		})
	}
}

// Our client understands somebody else's server: with two addresses, all but the tests that need dialling back.
func TestForeignServer(t *testing.T) {
	const name = "turnserver"
	if _, err := exec.LookPath(name); err != nil {
		t.Skipf("%s is not installed (Debian's package coturn)", name)
	}
	for _, tt := range []struct {
		nat natlab.NAT
		two bool // whether the server has two addresses
	}{
		{natlab.NAT{}, true},
		{natlab.NAT{}, false},
		{natlab.NAT{Mapping: natlab.AddressAndPortDependent, Filtering: natlab.AddressDependent, Ports: natlab.Sequential, Step: 4}, true},
		{natlab.NAT{Mapping: natlab.AddressDependent, Filtering: natlab.EndpointIndependent, Ports: natlab.Random}, true},
	} {
		t.Run(fmt.Sprintf("%v, %v, two addresses %v", tt.nat.Mapping, tt.nat.Filtering, tt.two), func(t *testing.T) {
			t.Parallel()
			lab := natlab.New(t, behind(tt.nat))
			s := lab.Host("s")
			args := []string{name, "-n", "--stun-only", "--no-tls", "--no-dtls", "--no-cli", "--log-file=stdout", "--pidfile=" + t.TempDir() + "/pid",
				"--listening-port=3478", "--alt-listening-port=3479", "--listening-ip=" + s.Addr().String()}
			if tt.two {
				args = append(args, "--listening-ip="+also.String())
			}
			p := s.Start(args...)
			defer p.Kill()
			at := serversAt(s.Addr())[:1] // it tells where the others are, if there are any
			awaitSTUN(t, s, at[0])
			res := runClient(t, lab.Host("a"), Options{Servers: at})
			if res.Err != "" {
				t.Fatalf("%s\n%s", res.Err, p.Stdout)
			}
			r := res.Report
			t.Logf("after %v: %+v", res.Took, *r)
			mapping, filtering := Behavior(tt.nat.Mapping.String()), Behavior(tt.nat.Filtering.String())
			if tt.nat.Mapping == 0 {
				mapping, filtering = EndpointIndependent, AddressAndPortDependent
			}
			if !tt.two {
				mapping, filtering = "", "" // it has its second port only with a second address
			}
			want(t, map[string][2]any{
				"TCP mapping": {r.TCP.Mapping, mapping}, "UDP mapping": {r.UDP.Mapping, mapping},
				"UDP filtering": {r.UDP.Filtering, filtering}, "TCP filtering": {r.TCP.Filtering, ""},
				"TCP ports": {r.TCP.Ports, tt.nat.Ports}, "UDP step": {r.UDP.Step, tt.nat.Step},
				"server": {r.Server, ""},
			})
		})
	}
}

// awaitSTUN waits until a host answers over TCP.
func awaitSTUN(t *testing.T, host *natlab.Machine, at string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for {
		conn, err := host.Dial(ctx, "tcp", at)
		if err == nil {
			_, err = stun.Query(ctx, conn)
			conn.Close()
		}
		if err == nil {
			return
		}
		if ctx.Err() != nil {
			t.Fatalf("no STUN at %s: %v", at, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

package admin

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// Hosts says under which names a server may be called.
//
// The API has no password: what keeps the web out of it is that a browser marks
// the requests of a page as foreign. But a page can have its own name resolve to
// this machine; then its requests are of the same origin, and bear no mark at
// all when they only read. They do bear that name, as Host: so any name that
// somebody else could own is refused.
type Hosts struct {
	// Listen is the address the server listens on. On a loopback address, or
	// when nil, it is called by names of this machine only; on another, by any
	// IP address too, since those cannot be made to resolve to anything.
	Listen net.Addr
	// Names are further names it may be called by, without port, in any case.
	Names []string
}

// these are names of this machine that nobody can have resolve to another one:
// localhost is reserved, Docker answers for its own, and LocalStack's always
// resolves to 127.0.0.1.
var these = []string{"localhost", "host.docker.internal", "localhost.localstack.cloud"}

// Allows says whether a Host header, with or without port, is one of this server.
func (h Hosts) Allows(hostport string) bool {
	name := hostName(hostport)
	if name != "" && slices.ContainsFunc(h.Names, func(n string) bool { return hostName(n) == name }) {
		return true
	}
	if ip, err := netip.ParseAddr(name); err == nil {
		ip = ip.Unmap()
		return ip.IsLoopback() || ip.IsUnspecified() || !h.loopback()
	}
	return slices.Contains(these, name) || strings.HasSuffix(name, ".localhost") || strings.HasSuffix(name, ".localhost.localstack.cloud")
}

func (h Hosts) loopback() bool {
	if h.Listen == nil {
		return true
	}
	at, err := netip.ParseAddrPort(h.Listen.String())
	return err != nil || at.Addr().Unmap().IsLoopback()
}

// hostName takes the port, the brackets and the root's dot off a host.
func hostName(hostport string) string {
	host := hostport
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		host = h
	} else if strings.HasPrefix(host, "[") {
		host = strings.TrimSuffix(host[1:], "]")
	}
	return strings.TrimSuffix(strings.ToLower(host), ".")
}

// ValidHost says what is wrong with a name for [Hosts], or nil.
func ValidHost(name string) error {
	wrong := func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("-_.", r)
	}
	if name == "" || len(name) > 253 || strings.ContainsFunc(name, wrong) || strings.Trim(name, ".") == "" {
		return fmt.Errorf("%q is no host name: want one as in a URL, without scheme and port", name)
	}
	return nil
}

// guarded keeps web pages out of next. Only whether the server is healthy may be
// asked under any name, by whatever watches over it.
func (h *handler) guarded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer h.caught(w, r)
		if err := h.refuseForeign(r); err != nil {
			h.fail(w, r, err)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (h *handler) refuseForeign(r *http.Request) error {
	if err := h.guard.Check(r); err != nil {
		return newError(CodeForeign, "a web page of another origin asked for %s %s", r.Method, r.URL.Path)
	}
	if r.URL.Path == pathHealth || r.URL.Path == pathLocalstackHealth || h.Hosts.Allows(r.Host) {
		return nil
	}
	e := newError(CodeForeignHost, "this server is not to be called by the name %q", hostName(r.Host)).With("host", r.Host)
	if name := hostName(r.Host); ValidHost(name) == nil {
		e.Named(name)
	}
	return e
}

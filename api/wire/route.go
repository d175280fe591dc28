package wire

import (
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
)

// route is where a request belongs.
type route struct {
	service   *Service // nil: none of ours
	operation *Operation
	opName    string // as asked for
	rpc       bool   // RPC v2
	foreign   string // what the request calls the service that is none of ours
	path      *place // of a REST operation
	form      bool   // nothing but the form that is its body may tell: see [Handler.byForm]
}

// route decides by X-Amz-Target, then by the path of RPC v2, then by the credential scope,
// then by Host, then by a path that some service's operation has. What says nothing of all
// this is for the first service: AWS has a host for each service, and answers such requests
// too.
//
// The target comes first because services share scopes: DynamoDB Streams is signed as
// dynamodb.
func (h *Handler) route(r *http.Request, by identity) route {
	if target := r.Header.Get("X-Amz-Target"); target != "" {
		prefix, op, _ := strings.Cut(target, ".")
		return h.to(prefix, op, route{foreign: prefix})
	}
	if prefix, op, ok := rpcPath(r); ok {
		return h.to(prefix, op, route{rpc: true, foreign: prefix})
	}
	name := by.service
	if name == "" {
		name = hostService(r.Host)
	}
	if name != "" {
		rt := h.named(name)
		if s := rt.service; s != nil && s.REST {
			rt.at(h.paths[s].find(r))
		}
		return rt
	}
	var rest route // of the first REST service
	for _, s := range h.opts.Services {
		p := h.paths[s].find(r)
		if p == nil {
			continue
		}
		rt := route{service: s}
		if rt.at(p); p.known() {
			return rt
		}
		if rest.service == nil {
			rest = rt
		}
	}
	if h.upstream == nil && rest.service != nil && restPath.MatchString(r.URL.Path) {
		return rest // to be told that there is no such path
	}
	if h.upstream != nil && (r.URL.Path != "/" || isForm(r)) {
		return route{foreign: "this path"} // of a REST service, without credentials
	}
	rt := h.named("")
	rt.form = isForm(r) || r.URL.RawQuery != ""
	return rt
}

// restPath is how AWS's REST services begin their paths: with a version.
var restPath = regexp.MustCompile(`\A/20\d\d-\d\d-\d\d/`)

func (rt *route) at(p *place) {
	if rt.path = p; p.op != nil {
		rt.operation, rt.opName = p.op.Operation, p.op.Name
	}
}

func (h *Handler) to(prefix, op string, rt route) route {
	for _, s := range h.opts.Services {
		if s.Target == prefix && s.Target != "" {
			rt.service, rt.opName, rt.operation = s, op, h.ops[s][op]
			break
		}
	}
	return rt
}

func (h *Handler) named(name string) route {
	for _, s := range h.opts.Services {
		if name == "" || s.Signing == name || s.Name == name {
			return route{service: s}
		}
	}
	return route{foreign: name}
}

// rpcPath takes /service/Kinesis_20131202/operation/PutRecord apart.
func rpcPath(r *http.Request) (service, op string, ok bool) {
	if r.Header.Get("Smithy-Protocol") != "rpc-v2-cbor" {
		return "", "", false
	}
	parts := strings.Split(r.URL.Path, "/")
	n := len(parts) // before the last four there may be a prefix
	if n < 5 || parts[n-4] != "service" || parts[n-2] != "operation" {
		return "", "", false
	}
	return parts[n-3], parts[n-1], true
}

// hostService is the service that a host name of AWS, or of those who imitate it, is
// for: kinesis.eu-west-1.amazonaws.com, 123456789012.data-kinesis.us-east-1.amazonaws.com.
// It is "" for others, localhost say.
func hostService(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.ToLower(host)
	known := false
	for _, end := range []string{".amazonaws.com", ".amazonaws.com.cn", ".api.aws", ".localhost.localstack.cloud"} {
		known = known || strings.HasSuffix(host, end)
	}
	if !known {
		return ""
	}
	labels := strings.Split(host, ".")
	if isAccount(labels[0]) && len(labels) > 1 {
		labels = labels[1:]
	}
	name := labels[0]
	for _, plane := range []string{"data-", "control-"} { // Kinesis' endpoints by account
		name = strings.TrimPrefix(name, plane)
	}
	return strings.TrimSuffix(name, "-fips")
}

func isForm(r *http.Request) bool {
	return mediaType(r) == "application/x-www-form-urlencoded"
}

func mediaType(r *http.Request) string {
	kind, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	return strings.TrimSpace(kind)
}

// queryOf reads the query as far as it can be read.
func queryOf(r *http.Request) url.Values {
	if r.URL.RawQuery == "" {
		return nil
	}
	return r.URL.Query()
}

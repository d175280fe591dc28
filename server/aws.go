package server

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/wasmill/wasmill/api/admin"
)

// front shares one port: paths of the server's own go to ours, everything else to
// AWS's face, if it is called by a name of this server and not by a page of
// another's. AWS's own answers allow any origin; on a machine of somebody who browses
// the web, that would open functions and streams to every page.
func front(ours, aws http.Handler, hosts admin.Hosts) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasPrefix(r.URL.Path, "/_wasmill/"), strings.HasPrefix(r.URL.Path, "/_localstack/"),
			r.Method == http.MethodGet && r.Header.Get("Authorization") == "" && r.URL.RawQuery == "" && !restPath.MatchString(r.URL.Path):
			// What no AWS client asks comes from a person.
			ours.ServeHTTP(w, r)
		case !hosts.Allows(r.Host):
			denied(w, "this server is not to be called by the name %q: call it by localhost or its IP address, or start it with `wasmill up --allow-host NAME`", r.Host)
		case !allowsOrigin(hosts, r.Header):
			denied(w, "a web page of %s may not call this server: serve the page from localhost, or start the server with `wasmill up --allow-host NAME`", cmp.Or(r.Header.Get("Origin"), "another site"))
		default:
			aws.ServeHTTP(w, r)
		}
	})
}

// restPath is how AWS's REST services begin their paths: with a version.
var restPath = regexp.MustCompile(`\A/20\d\d-\d\d-\d\d/`)

// allowsOrigin says whether a page may call, if one does. A browser names its origin except
// where it only fetches: an image of another site's page is such a call, and an upstream may
// have services that do what a GET says.
func allowsOrigin(hosts admin.Hosts, head http.Header) bool {
	origin := head.Get("Origin")
	if origin == "" {
		return head.Get("Sec-Fetch-Site") != "cross-site"
	}
	u, err := url.Parse(origin)
	return err == nil && u.Host != "" && hosts.Allows(u.Host)
}

// restTime is for the body of a request that is denied to arrive: the server reads it first.
const restTime = 10 * time.Second

// denied is an error as AWS clients read one.
func denied(w http.ResponseWriter, format string, args ...any) {
	body, _ := json.Marshal(map[string]string{"__type": "AccessDeniedException", "message": fmt.Sprintf(format, args...)})
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(restTime)) // where there is one
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	w.Header().Set("x-amzn-ErrorType", "AccessDeniedException")
	w.WriteHeader(http.StatusForbidden)
	_, _ = w.Write(body) // the client may be gone
}

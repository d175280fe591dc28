package wire

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"
)

// identity is what a request says of who has signed it. Signatures are not
// verified: whoever reaches the port may use it.
type identity struct {
	key     string // access key id
	region  string
	service string
}

const functionKey = "wasmill-" // before a function's name in the access key id it is given

// credentialsOf reads the credential scope of a request as far as there is one.
func credentialsOf(r *http.Request, query url.Values) identity {
	if h := r.Header.Get("Authorization"); h != "" {
		return parseCredential(authorization(h)["Credential"])
	}
	return parseCredential(query.Get("X-Amz-Credential"))
}

func parseCredential(s string) identity {
	parts := strings.Split(s, "/")
	switch len(parts) {
	case 5: // key/date/region/service/aws4_request
		return identity{key: parts[0], region: parts[2], service: parts[3]}
	case 4: // SigV4a: signed for all regions
		return identity{key: parts[0], service: parts[2]}
	}
	return identity{}
}

// authorization takes the header apart, as loosely as AWS does.
func authorization(h string) map[string]string {
	params := map[string]string{}
	first := strings.IndexAny(h, ", ")
	if first < 0 {
		return params // nothing but the algorithm
	}
	for _, part := range strings.FieldsFunc(h[first:], func(r rune) bool { return r == ',' || r == ' ' }) {
		name, value, _ := strings.Cut(part, "=")
		params[name] = value
	}
	return params
}

var (
	validRegion = regexp.MustCompile(`\A[a-z0-9-]{1,64}\z`)
	validDate   = regexp.MustCompile(`\A\d{8}T\d{6}Z\z`)
)

// authenticate judges the form of the credentials. Texts: npm kinesalite (index.js), and
// for the form of credential and date those AWS is widely quoted with.
func authenticate(r *http.Request, query url.Values) *Error {
	header := r.Header.Get("Authorization")
	inQuery := query.Has("X-Amz-Algorithm")
	var credential, date string
	var msg strings.Builder
	switch {
	case header != "" && inQuery:
		return Errorf(codeSignature, "Found both 'X-Amz-Algorithm' as a query-string param and 'Authorization' as HTTP header.")
	case header == "" && !inQuery:
		return Errorf(codeNoToken, "Missing Authentication Token")
	case header != "":
		params := authorization(header)
		for _, name := range []string{"Credential", "Signature", "SignedHeaders"} {
			if params[name] == "" {
				msg.WriteString("Authorization header requires '" + name + "' parameter. ")
			}
		}
		credential, date = params["Credential"], r.Header.Get("X-Amz-Date")
		if date == "" && r.Header.Get("Date") == "" {
			msg.WriteString("Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header. ")
		}
		if msg.Len() > 0 {
			msg.WriteString("Authorization=" + header)
		}
	default:
		for _, name := range []string{"X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Signature", "X-Amz-SignedHeaders", "X-Amz-Date"} {
			if query.Get(name) == "" {
				msg.WriteString("AWS query-string parameters must include '" + name + "'. ")
			}
		}
		credential, date = query.Get("X-Amz-Credential"), query.Get("X-Amz-Date")
		if msg.Len() > 0 {
			msg.WriteString("Re-examine the query-string parameters.")
		}
	}
	if msg.Len() > 0 {
		return &Error{Code: codeIncomplete, Message: msg.String()}
	}
	c := parseCredential(credential)
	if c.service == "" {
		return Errorf(codeIncomplete, "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got '%s'", credential)
	}
	if date != "" && !validDate.MatchString(date) {
		return Errorf(codeIncomplete, "Date must be in ISO-8601 'basic format'. Got '%s'. See http://en.wikipedia.org/wiki/ISO_8601", date)
	}
	if c.region != "" && !validRegion.MatchString(c.region) {
		return Errorf(codeSignature, "Credential should be scoped to a valid region, not '%s'. ", c.region)
	}
	return nil
}

// identify fills in whose call it is.
func (h *Handler) identify(c *Call, r *http.Request, query url.Values, by identity) {
	if c.Session = r.Header.Get("X-Amz-Security-Token"); c.Session == "" {
		c.Session = query.Get("X-Amz-Security-Token")
	}
	c.Account, c.Region, c.Host = h.opts.Account, h.opts.Region, r.Host
	if by.region != "" {
		c.Region = by.region
	}
	if account := accountOf(by.key); account != "" {
		c.Account = account
	}
	if h.opts.Caller != nil {
		c.Function = h.opts.Caller(r.RemoteAddr)
	} else if name, ok := strings.CutPrefix(by.key, functionKey); ok {
		c.Function = name
	}
}

// SessionKey is an access key id of temporary credentials that carries an account on.
func SessionKey(account string) string { return "ASIA" + account + "TEMP" }

// accountOf is the account that an access key id names: it is one, or carries one on.
func accountOf(key string) string {
	if inner, ok := strings.CutPrefix(key, "ASIA"); ok && strings.HasSuffix(inner, "TEMP") {
		key = inner[:len(inner)-len("TEMP")]
	}
	if isAccount(key) {
		return key
	}
	return ""
}

func isAccount(s string) bool {
	return len(s) == 12 && strings.Trim(s, "0123456789") == ""
}

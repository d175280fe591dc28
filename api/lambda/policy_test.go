package lambda

import (
	"encoding/base64"
	"encoding/json"
	"net/url"
	"strings"
	"testing"
)

// createBody is a CreateFunction request.
func createBody(name, more string) string {
	return `{"FunctionName":"` + name + `","Role":"` + role + `","Runtime":"provided.al2023","Handler":"h","Code":{"ZipFile":"` + base64.StdEncoding.EncodeToString(returning("1")) + `"}` + more + `}`
}

func TestPoliciesAsOnAWS(t *testing.T) {
	e := emulate(t, options{idle: true})
	e.call("POST", "/2015-03-31/functions", createBody("f", `,"Publish":true`))
	e.call("POST", "/2015-03-31/functions/f/aliases", `{"Name":"live","FunctionVersion":"1"}`)
	const policy = "/2015-03-31/functions/f/policy"
	add := func(id, more string) string {
		return `{"StatementId":"` + id + `","Action":"lambda:InvokeFunction","Principal":"s3.amazonaws.com"` + more + `}`
	}
	e.run([]step{
		{"none to begin with", "GET", policy, "", 404, `{"Message":"The resource you requested does not exist.","Type":"User"}`},
		{"nothing to remove", "DELETE", policy + "/a", "", 404, "No policy is associated with the given resource."},
		{"a service", "POST", policy, add("a", `,"SourceArn":"arn:aws:s3:::b","SourceAccount":"000000000000"`), 201,
			`{"Statement":"{\"Sid\":\"a\",\"Effect\":\"Allow\",\"Principal\":{\"Service\":\"s3.amazonaws.com\"},\"Action\":\"lambda:InvokeFunction\",\"Resource\":\"` + arnF + `\",\"Condition\":{\"ArnLike\":{\"AWS:SourceArn\":\"arn:aws:s3:::b\"},\"StringEquals\":{\"AWS:SourceAccount\":\"000000000000\"}}}"}`},
		{"twice", "POST", policy, add("a", ""), 409, "The statement id (a) provided already exists. Please provide a new statement id, or remove the existing statement."},
		{"an account", "POST", policy, `{"StatementId":"b","Action":"*","Principal":"111111111111"}`, 201, `{\"AWS\":\"arn:aws:iam::111111111111:root\"}`},
		{"a role", "POST", policy, `{"StatementId":"c","Action":"lambda:*","Principal":"arn:aws:iam::111111111111:role/r"}`, 201, `{\"AWS\":\"arn:aws:iam::111111111111:role/r\"}`},
		{"everybody of an organisation", "POST", policy, `{"StatementId":"d","Action":"lambda:InvokeFunctionUrl","Principal":"*","PrincipalOrgID":"o-1234567890","FunctionUrlAuthType":"NONE","EventSourceToken":"t","InvokedViaFunctionUrl":true}`, 201, `\"Principal\":\"*\"`},
		{"nobody", "POST", policy, `{"StatementId":"e","Action":"*","Principal":"somebody"}`, 400, "The provided principal was invalid. Please check the principal and try again."},
		{"an action that is none", "POST", policy, `{"StatementId":"e","Action":"s3:Get","Principal":"*"}`, 400, `at 'action' failed to satisfy constraint: Member must satisfy regular expression pattern: (lambda:[*]|lambda:[a-zA-Z]+|[*])`},
		{"$LATEST", "POST", policy + "?Qualifier=%24LATEST", add("e", ""), 400, "We currently do not support adding policies for $LATEST."},
		{"an alias has its own", "POST", policy + "?Qualifier=live", add("a", ""), 201, arnF + `:live`},
		{"a version too", "POST", policy + "?Qualifier=1", add("a", ""), 201, arnF + `:1`},
		{"of no alias", "POST", policy + "?Qualifier=none", add("a", ""), 404, "Cannot find alias arn: " + arnF + ":none"},
		{"of no version", "GET", policy + "?Qualifier=9", "", 404, "Function not found: " + arnF + ":9"},
		{"of no function", "GET", "/2015-03-31/functions/none/policy", "", 404, "Function not found: "},
		{"", "DELETE", "/2015-03-31/functions/none/policy/a", "", 404, "No policy found for: arn:aws:lambda:us-east-1:000000000000:function:none"},
		{"a revision that is not the latest", "POST", policy, add("e", `,"RevisionId":"x"`), 412, "The Revision Id provided does not match the latest Revision Id. Call the GetPolicy API to retrieve the latest Revision Id"},
		{"too long", "POST", policy, add("e", `,"SourceArn":"arn:aws:s3:::`+strings.Repeat("x", 20<<10)+`"`), 400, "The final policy size ("},
	})
	a := e.call("GET", policy, "").object(t)
	var p struct {
		Version, Id string
		Statement   []struct{ Sid string }
	}
	if err := json.Unmarshal([]byte(a["Policy"].(string)), &p); err != nil || p.Version != "2012-10-17" || p.Id != "default" || len(p.Statement) != 4 || p.Statement[3].Sid != "d" {
		t.Errorf("policy %v", a)
	}
	if b := e.call("POST", policy, add("e", `,"RevisionId":"`+a["RevisionId"].(string)+`"`)); b.status != 201 {
		t.Errorf("with the latest revision: %d %s", b.status, b.body)
	}
	e.call("DELETE", policy+"/e", "")
	a = e.call("GET", policy, "").object(t)
	revision := url.QueryEscape(a["RevisionId"].(string))
	e.run([]step{
		{"a statement that is not there", "DELETE", policy + "/x", "", 404, "Statement x is not found in resource policy."},
		{"a revision that is not the latest", "DELETE", policy + "/a?RevisionId=x", "", 412, "The Revision Id provided"},
		{"the latest", "DELETE", policy + "/a?RevisionId=" + revision, "", 204, ""},
		{"which it is no more", "DELETE", policy + "/b?RevisionId=" + revision, "", 412, "The Revision Id provided"},
		{"", "DELETE", policy + "/b", "", 204, ""},
		{"", "DELETE", policy + "/c", "", 204, ""},
		{"the last takes the policy with it", "DELETE", policy + "/d", "", 204, ""},
		{"", "GET", policy, "", 404, "The resource you requested does not exist."},
		{"and not the alias's", "GET", policy + "?Qualifier=live", "", 200, `"Policy":`},
		{"which is removed by qualifier", "DELETE", policy + "/a?Qualifier=live", "", 204, ""},
	})
}

func TestEventInvokeConfigsAsOnAWS(t *testing.T) {
	e := emulate(t, options{idle: true})
	e.call("POST", "/2015-03-31/functions", createBody("f", `,"Publish":true`))
	e.call("POST", "/2015-03-31/functions", createBody("g", ""))
	const at = "/2019-09-25/functions/f/event-invoke-config"
	none := "The function " + arnF + ":$LATEST doesn't have an EventInvokeConfig"
	to := func(which, arn string) string {
		return `{"DestinationConfig":{"` + which + `":{"Destination":"` + arn + `"}}}`
	}
	e.run([]step{
		{"none to begin with", "GET", at, "", 404, none},
		{"none to update", "POST", at, `{"MaximumRetryAttempts":1}`, 404, none},
		{"none to delete", "DELETE", at, "", 404, none},
		{"nothing to set", "PUT", at, `{}`, 400, "You must specify at least one of error handling or destination setting."},
		{"set", "PUT", at, `{"MaximumRetryAttempts":0,"MaximumEventAgeInSeconds":60}`, 200, `"FunctionArn":"` + arnF + `:$LATEST","MaximumRetryAttempts":0,"MaximumEventAgeInSeconds":60,"DestinationConfig":{"OnSuccess":{},"OnFailure":{}}}`},
		{"one more", "POST", at, to("OnFailure", "arn:aws:sqs:us-east-1:000000000000:q"), 200, `"MaximumRetryAttempts":0,"MaximumEventAgeInSeconds":60,"DestinationConfig":{"OnSuccess":{},"OnFailure":{"Destination":"arn:aws:sqs:us-east-1:000000000000:q"}}}`},
		{"a function", "POST", at, to("OnSuccess", "arn:aws:lambda:us-east-1:000000000000:function:g"), 200, "function:g"},
		{"itself", "POST", at, to("OnSuccess", arnF), 400, "You can't specify the function as a destination for itself."},
		{"one that is not there", "POST", at, to("OnSuccess", arnF+"none"), 400, "The destination ARN " + arnF + "none is invalid."},
		{"another service", "PUT", at, to("OnFailure", "arn:aws:ec2:us-east-1:000000000000:x"), 400, "The provided destination config DestinationConfig(onSuccess=null, onFailure=OnFailure(destination=arn:aws:ec2:us-east-1:000000000000:x)) is invalid."},
		{"no ARN", "PUT", at, to("OnFailure", "x"), 400, "at 'destinationConfig.onFailure.destination' failed to satisfy constraint: Member must satisfy regular expression pattern"},
		{"too many retries", "PUT", at, `{"MaximumRetryAttempts":3}`, 400, "Value '3' at 'maximumRetryAttempts' failed to satisfy constraint: Member must have value less than or equal to 2"},
		{"too young", "PUT", at, `{"MaximumEventAgeInSeconds":59}`, 400, "Member must have value greater than or equal to 60"},
		{"of a version", "PUT", at + "?Qualifier=1", `{"MaximumRetryAttempts":2}`, 200, arnF + ":1"},
		{"of no version", "PUT", at + "?Qualifier=9", `{"MaximumRetryAttempts":2}`, 404, "The function doesn't exist."},
		{"all", "GET", at + "/list", "", 200, `{"FunctionEventInvokeConfigs":[{`},
		{"a page", "GET", at + "/list?MaxItems=1", "", 200, `"NextMarker":"` + arnF + `:$LATEST"`},
		{"the next", "GET", at + "/list?MaxItems=1&Marker=" + url.QueryEscape(arnF+":$LATEST"), "", 200, arnF + `:1"`},
		{"put forgets what is not given", "PUT", at, `{"MaximumRetryAttempts":1}`, 200, `"FunctionArn":"` + arnF + `:$LATEST","MaximumRetryAttempts":1,"DestinationConfig":{"OnSuccess":{},"OnFailure":{}}}`},
		{"gone", "DELETE", at, "", 204, ""},
		{"", "GET", at, "", 404, none},
		{"of no function", "GET", "/2019-09-25/functions/none/event-invoke-config/list", "", 404, "The function doesn't exist."},
	})
	a := e.call("GET", at+"?Qualifier=1", "").object(t)
	if b := e.call("DELETE", at+"?Qualifier=1", ""); b.status != 204 {
		t.Errorf("deleted by qualifier: %d %s", b.status, b.body)
	}
	if at, ok := a["LastModified"].(float64); !ok || at < 1.7e9 || at > 1e10 {
		t.Errorf("LastModified %v, want seconds since 1970", a["LastModified"])
	}
}

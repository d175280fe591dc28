package filter

import (
	"testing"
)

// row is one rule of the language: an event, what a pattern says of it, and who says
// so. "R name" is a template that LocalStack has recorded on AWS (TestEventPattern),
// by its name; "9.x" is a sentence of AWS's documentation or of the recordings as
// gathered for this project; "ours" is decided here.
type row struct {
	from, rule string
	pattern    string
	event      string
	want       bool
}

// language checks rows of which pattern and event are what is under "data".
func language(t *testing.T, rows []row) {
	t.Helper()
	for _, r := range rows {
		s, err := Compile([]string{`{"data":` + r.pattern + `}`}, Options{})
		if err != nil {
			t.Errorf("%s: %s: %s: %v", r.from, r.rule, r.pattern, err)
			continue
		}
		if got := s.Match(&Record{Data: []byte(r.event)}); got != r.want {
			t.Errorf("%s: %s: %s on %s = %t", r.from, r.rule, r.pattern, r.event, got)
		}
		if got := slowMatch(t, r.pattern, r.event); got != r.want {
			t.Errorf("%s: %s: %s on %s = %t by the reference", r.from, r.rule, r.pattern, r.event, got)
		}
		if got := s.Explain(&Record{Data: []byte(r.event)}); len(got) != 1 || got[0].Match != r.want || !r.want && len(got[0].Failed) == 0 {
			t.Errorf("%s: %s: %s on %s explained as %+v", r.from, r.rule, r.pattern, r.event, got)
		}
	}
}

const (
	launched = `{"version":"0","detail-type":"EC2 Instance Launch Successful","source":"aws.autoscaling","region":"us-east-1","resources":[],"detail":{"eventVersion":"","responseElements":null}}`
	bus      = `{"EventBusArn":"arn:aws:events:us-east-1:123456789012:event-bus/myEventBus"}`
	home     = `{"dynamodb":{"NewImage":{"homemade":{"S":"ABCD","N":"1234"}}}}`
	doc      = `{"FileName":"/Users/ls_user/dir/dir/dir/dir/dir/doc.txt"}`
	many     = `{"time":"2022-07-13T13:48:01Z","source":"core.update-account-command","detail-type":"core.app.backend","detail":{"description":"this-is-event-details","amount":200,"salary":2000,"env":"prod","user":"user3","admins":"admin","test1":300,"test2":"test22","test3":"test333","test4":"this test4","ip":"10.102.1.100","num-test1":100,"num-test2":200,"num-test3":300,"num-test4":200,"num-test5":500,"num-test6":300,"num-test7":300}}`
	change   = `{"dynamodb":{"ApproximateCreationDateTime":1733418659.0,"Keys":{"id":{"S":"id_value_1"}},"NewImage":{"id":{"S":"id_value_1"},"numericFilter":{"N":"101"}},"SizeBytes":52}}`
)

func TestRecordedOnAWS(t *testing.T) {
	language(t, []row{
		{"R minimal", "one string", `{"id":["1"]}`, `{"id":"1"}`, true},
		{"R sample1", "keys are and-ed", `{"source":["order"],"detail-type":["Test"]}`, `{"source":"order","detail-type":"Test"}`, true},
		{"R string", "exact", `{"string":["my-value"]}`, `{"string":"my-value"}`, true},
		{"R string_empty", `[""] is the empty string`, `{"detail":{"eventVersion":[""]}}`, launched, true},
		{"R null_value", "[null] is null", `{"detail":{"responseElements":[null]}}`, launched, true},
		{"R null_value_NEG", `[null] is not "null"`, `{"detail":{"responseElements":[null]}}`, `{"detail":{"responseElements":"null"}}`, false},
		{"R boolean", "true is true", `{"detail":{"flag":[true]}}`, `{"detail":{"flag":true}}`, true},
		{"R boolean_NEG", "false is not true", `{"detail":{"flag":[true]}}`, `{"detail":{"flag":false}}`, false},
		{"R arrays", "one element is enough", `{"resources":["i-b188560f","i-2","i-3"]}`, `{"resources":["asg","i-b188560f"]}`, true},
		{"R arrays_NEG", "no element is not", `{"resources":["i-1","i-2","i-3"]}`, `{"resources":["asg","i-b188560f"]}`, false},
		{"R arrays_empty_null_NEG", "[null] is not []", `{"resources":[null]}`, `{"resources":[]}`, false},
		{"R list_within_dict", "exists in one element", `{"detail":{"automations":{"id":[{"exists":true}]}}}`, `{"detail":{"automations":[{"key1":"value1"},{"id":"match-does-exist"},{"key2":"value2"}]}}`, true},
		{"R nested_json_NEG", "a string that holds JSON is a string", `{"detail":{"my-key":["my-value"]}}`, `{"detail":"{\"my-key\": \"my-value\"}"}`, false},
		{"R key_case_sensitive_NEG", "keys have a case", `{"My_Key":["x"]}`, `{"my_key":"x"}`, false},
		{"R number_comparison_float", "300.0 is 300", `{"number":[300]}`, `{"number":300.0}`, true},
		{"R numeric-int-float", "operators take floats", `{"number":[{"numeric":[">",100]}]}`, `{"number":101.0}`, true},
		{"R numeric-string_NEG", "never strings", `{"number":[{"numeric":[">",100]}]}`, `{"number":"101"}`, false},
		{"R numeric-null_NEG", "never null", `{"number":[{"numeric":[">",100]}]}`, `{"number":null}`, false},
		{"R operator_multiple_list", "operators are or-ed", `{"my_key":[{"exists":true},{"prefix":"IGNORED"},{"suffix":"IGNORED"}]}`, `{"my_key":"my-value"}`, true},

		{"R or-anything-but", "anything-but or missing: another value", `{"dynamodb":{"NewImage":{"homemade":{"S":[{"anything-but":["roses"]},{"exists":false}]}}}}`, home, true},
		{"R or-exists", "… missing", `{"dynamodb":{"NewImage":{"homemade":{"S":[{"anything-but":["roses"]},{"exists":false}]}}}}`, `{"dynamodb":{"NewImage":{"homemade":{"N":"789"}}}}`, true},
		{"R or-exists-parent", "… the parent is missing", `{"dynamodb":{"NewImage":{"homemade":{"S":[{"anything-but":["roses"]},{"exists":false}]}}}}`, `{"dynamodb":{"NewImage":{"purchased":{"N":"789"}}}}`, true},
		{"R or-numeric-anything-but", "numeric or anything-but: a number in a string is one", `{"dynamodb":{"NewImage":{"numericFilter":{"N":[{"numeric":[">",100]},{"anything-but":"102"}]}}}}`, change, true},
		{"R or-numeric-anything-but_NEG", "… and no operator on numbers takes it", `{"dynamodb":{"NewImage":{"numericFilter":{"N":[{"numeric":[">",100]},{"anything-but":"101"}]}}}}`, change, false},
		{"R dynamodb", "numbers of items are strings", `{"dynamodb":{"NewImage":{"homemade":{"N":["1234"]}}}}`, home, true},
		{"R exists_dynamodb", "exists at a leaf", `{"dynamodb":{"presentKey":{"S":[{"exists":true}]}}}`, `{"dynamodb":{"id":{"S":"test1234"},"presentKey":{"S":"test123"}}}`, true},
		{"R exists_dynamodb_NEG", "exists not at an object", `{"dynamodb":{"presentKey":[{"exists":true}]}}`, `{"dynamodb":{"id":{"S":"test1234"},"presentKey":{"S":"test123"}}}`, false},
		{"R exists_list_empty", "null exists", `{"detail":{"responseElements":[{"exists":true}]}}`, launched, true},
		{"R exists_list_empty_NEG", "an empty array does not", `{"resources":[{"exists":true}]}`, launched, false},
		{"R content_exists", "exists", `{"detail":{"c-count":[{"exists":true}]}}`, `{"detail":{"c-count":5}}`, true},
		{"R content_exists_NEG", "exists, missing", `{"detail":{"c-count":[{"exists":true}]}}`, `{"detail":{"d-count":5}}`, false},
		{"R content_exists_false", "exists not", `{"detail":{"c-count":[{"exists":false}]}}`, `{"detail":{"d-count":5}}`, true},
		{"R content_exists_false", "exists not, at an object", `{"detail":{"c-count":[{"exists":false}]}}`, `{"detail":{"c-count":{"c1":100}}}`, true},
		{"R content_exists_false_NEG", "exists not, there", `{"detail":{"c-count":[{"exists":false}]}}`, `{"detail":{"c-count":5}}`, false},

		{"R prefix", "two prefixes", `{"dynamodb":{"Keys":{"PK":{"S":[{"prefix":"COMPANY"}]},"SK":{"S":[{"prefix":"PRODUCT"}]}}}}`, `{"dynamodb":{"Keys":{"SK":{"S":"PRODUCT#CHOCOLATE#DARK#1000"},"PK":{"S":"COMPANY#1000"}}}}`, true},
		{"R content_prefix", "prefix", `{"time":[{"prefix":"2022-07-13"}]}`, `{"time":"2022-07-13T13:48:01Z"}`, true},
		{"R content_prefix_NEG", "prefix, another", `{"time":[{"prefix":"2022-07-13"}]}`, `{"time":"2022-07-14T13:48:01Z"}`, false},
		{"R content_prefix_empty", `prefix "" is any string`, `{"time":[{"prefix":""}]}`, `{"time":"2022"}`, true},
		{"R content_prefix_ignorecase", "prefix in any case", `{"detail":{"service":[{"prefix":{"equals-ignore-case":"EventB"}}]}}`, `{"detail":{"service":"EvEnTb"}}`, true},
		{"R content_suffix", "suffix", `{"FileName":[{"suffix":".png"}]}`, `{"FileName":"image.png"}`, true},
		{"R content_suffix_NEG", "suffix, another", `{"FileName":[{"suffix":".png"}]}`, `{"FileName":"image.jpg"}`, false},
		{"R content_suffix_empty", `suffix "" is any string`, `{"FileName":[{"suffix":""}]}`, `{"FileName":"image.jpg"}`, true},
		{"R content_suffix_ignorecase", "suffix in any case", `{"detail":{"FileName":[{"suffix":{"equals-ignore-case":".png"}}]}}`, `{"detail":{"FileName":"image.PnG"}}`, true},
		{"R content_suffix_ignorecase_NEG", "suffix in any case, another", `{"detail":{"FileName":[{"suffix":{"equals-ignore-case":".png"}}]}}`, `{"detail":{"FileName":"image.jpg"}}`, false},
		{"R content_ignorecase", "equals in any case", `{"detail-type":[{"equals-ignore-case":"ec2 instance state-change notification"}]}`, `{"detail-type":"EC2 Instance State-change Notification"}`, true},
		{"R content_ignorecase_NEG", "equals in any case, another", `{"detail-type":[{"equals-ignore-case":"ec2 instance state-change notification"}]}`, `{"detail-type":"EC2 Instance State-change"}`, false},
		{"R content_ignorecase_empty", "equals in any case, empty", `{"detail":{"value":[{"equals-ignore-case":""}]}}`, `{"detail":{"value":""}}`, true},
		{"R content_ignorecase_empty_NEG", "equals in any case, not empty", `{"detail":{"value":[{"equals-ignore-case":""}]}}`, `{"detail":{"value":"random"}}`, false},

		{"R content_anything_but_string", "anything-but a string", `{"detail":{"state":[{"anything-but":"initializing"}]}}`, `{"detail":{"state":"pending"}}`, true},
		{"R content_anything_but_string_NEG", "… the string", `{"detail":{"state":[{"anything-but":"initializing"}]}}`, `{"detail":{"state":"initializing"}}`, false},
		{"R content_anything_but_string_missing_NEG", "… missing", `{"detail":{"state":[{"anything-but":"initializing"}]}}`, `{"detail":{}}`, false},
		{"R content_anything_but_string_null", "… null", `{"detail":{"state":[{"anything-but":"initializing"}]}}`, `{"detail":{"state":null}}`, true},
		{"R content_anything_but_string_list", "anything-but strings", `{"detail":{"state":[{"anything-but":["stopped","overloaded"]}]}}`, `{"detail":{"state":"pending"}}`, true},
		{"R content_anything_but_string_list_NEG", "… one of them", `{"detail":{"state":[{"anything-but":["stopped","overloaded"]}]}}`, `{"detail":{"state":"overloaded"}}`, false},
		{"R content_anything_but_string_list_missing_NEG", "… missing", `{"detail":{"state":[{"anything-but":["stopped","overloaded"]}]}}`, `{"detail":{}}`, false},
		{"R content_anything_but_string_list_null", "… null", `{"detail":{"state":[{"anything-but":["stopped","overloaded"]}]}}`, `{"detail":{"state":null}}`, true},
		{"R content_anything_but_number", "anything-but a number", `{"detail":{"x-limit":[{"anything-but":123}]}}`, `{"detail":{"x-limit":456}}`, true},
		{"R content_anything_but_number_NEG", "… the number", `{"detail":{"x-limit":[{"anything-but":123}]}}`, `{"detail":{"x-limit":123}}`, false},
		{"R content_anything_but_number_list", "anything-but numbers", `{"detail":{"x-limit":[{"anything-but":[100,200,300]}]}}`, `{"detail":{"x-limit":456}}`, true},
		{"R content_anything_but_number_list_NEG", "… one of them", `{"detail":{"x-limit":[{"anything-but":[100,200,300]}]}}`, `{"detail":{"x-limit":200}}`, false},
		{"R content_anything_but_number_zero", "anything-but 0", `{"detail":{"x-limit":[{"anything-but":0}]}}`, `{"detail":{"x-limit":789}}`, true},
		{"R content_anything_but_ignorecase", "anything-but in any case", `{"detail":{"state":[{"anything-but":{"equals-ignore-case":"initializing"}}]}}`, `{"detail":{"state":"pending"}}`, true},
		{"R content_anything_but_ignorecase_NEG", "… the string", `{"detail":{"state":[{"anything-but":{"equals-ignore-case":"initializing"}}]}}`, `{"detail":{"state":"INITIALIZING"}}`, false},
		{"R content_anything_but_ignorecase_missing_NEG", "… missing", `{"detail":{"state":[{"anything-but":{"equals-ignore-case":"initializing"}}]}}`, `{"detail":{}}`, false},
		{"R content_anything_but_ignorecase_null", "… null", `{"detail":{"state":[{"anything-but":{"equals-ignore-case":"initializing"}}]}}`, `{"detail":{"state":null}}`, true},
		{"R content_anything_but_ignorecase_list", "anything-but strings in any case", `{"detail":{"state":[{"anything-but":{"equals-ignore-case":["initializing","stopped"]}}]}}`, `{"detail":{"state":"pending"}}`, true},
		{"R content_anything_but_ignorecase_list_NEG", "… one of them", `{"detail":{"state":[{"anything-but":{"equals-ignore-case":["initializing","stopped"]}}]}}`, `{"detail":{"state":"STOPPED"}}`, false},
		{"R content_anything_but_ignorecase_list_missing_NEG", "… missing", `{"detail":{"state":[{"anything-but":{"equals-ignore-case":["initializing","stopped"]}}]}}`, `{"detail":{}}`, false},
		{"R content_anything_but_ignorecase_list_null", "… null", `{"detail":{"state":[{"anything-but":{"equals-ignore-case":["initializing","stopped"]}}]}}`, `{"detail":{"state":null}}`, true},
		{"R content_anything_prefix", "anything-but a prefix", `{"detail":{"state":[{"anything-but":{"prefix":"init"}}]}}`, `{"detail":{"state":"pending"}}`, true},
		{"R content_anything_prefix_NEG", "… it", `{"detail":{"state":[{"anything-but":{"prefix":"init"}}]}}`, `{"detail":{"state":"initializing"}}`, false},
		{"R content_anything_prefix_missing_NEG", "… missing", `{"detail":{"state":[{"anything-but":{"prefix":"init"}}]}}`, `{"detail":{}}`, false},
		{"R content_anything_prefix_null", "… null", `{"detail":{"state":[{"anything-but":{"prefix":"init"}}]}}`, `{"detail":{"state":null}}`, true},
		{"R content_anything_prefix_int_value", "… a number", `{"detail":{"state":[{"anything-but":{"prefix":"init"}}]}}`, `{"detail":{"state":123}}`, true},
		{"R content_anything_prefix_list", "anything-but prefixes", `{"detail":{"state":[{"anything-but":{"prefix":["init","test"]}}]}}`, `{"detail":{"state":"pending"}}`, true},
		{"R content_anything_prefix_list_NEG", "… one of them", `{"detail":{"state":[{"anything-but":{"prefix":["init","test"]}}]}}`, `{"detail":{"state":"testing"}}`, false},
		{"R content_anything_prefix_list_int", "… a number", `{"detail":{"state":[{"anything-but":{"prefix":["init","test"]}}]}}`, `{"detail":{"state":12}}`, true},
		{"R content_anything_prefix_list_missing_NEG", "… missing", `{"detail":{"state":[{"anything-but":{"prefix":["init","test"]}}]}}`, `{"detail":{}}`, false},
		{"R content_anything_prefix_list_null", "… null", `{"detail":{"state":[{"anything-but":{"prefix":["init","test"]}}]}}`, `{"detail":{"state":null}}`, true},
		{"R content_anything_suffix", "anything-but a suffix", `{"detail":{"FileName":[{"anything-but":{"suffix":".txt"}}]}}`, `{"detail":{"FileName":"file.png"}}`, true},
		{"R content_anything_suffix_NEG", "… it", `{"detail":{"FileName":[{"anything-but":{"suffix":".txt"}}]}}`, `{"detail":{"FileName":"file.txt"}}`, false},
		{"R content_anything_suffix_missing_NEG", "… missing", `{"detail":{"FileName":[{"anything-but":{"suffix":".txt"}}]}}`, `{"detail":{}}`, false},
		{"R content_anything_suffix_null", "… null", `{"detail":{"FileName":[{"anything-but":{"suffix":".txt"}}]}}`, `{"detail":{"FileName":null}}`, true},
		{"R content_anything_suffix_list", "anything-but suffixes", `{"detail":{"FileName":[{"anything-but":{"suffix":[".txt",".jpg"]}}]}}`, `{"detail":{"FileName":"file.png"}}`, true},
		{"R content_anything_suffix_list_NEG", "… one of them", `{"detail":{"FileName":[{"anything-but":{"suffix":[".txt",".jpg"]}}]}}`, `{"detail":{"FileName":"file.jpg"}}`, false},
		{"R content_anything_suffix_list_missing_NEG", "… missing", `{"detail":{"FileName":[{"anything-but":{"suffix":[".txt",".jpg"]}}]}}`, `{"detail":{}}`, false},
		{"R content_anything_suffix_list_null", "… null", `{"detail":{"FileName":[{"anything-but":{"suffix":[".txt",".jpg"]}}]}}`, `{"detail":{"FileName":null}}`, true},
		{"R content_anything_wildcard", "anything-but a wildcard", `{"detail":{"FilePath":[{"anything-but":{"wildcard":"*/init/*"}}]}}`, `{"detail":{"FilePath":"dir/post/dir"}}`, true},
		{"R content_anything_wildcard_NEG", "… it", `{"detail":{"FilePath":[{"anything-but":{"wildcard":"*/init/*"}}]}}`, `{"detail":{"FilePath":"dir/init/dir"}}`, false},
		{"R content_anything_wildcard_empty", "… the empty one", `{"detail":{"FilePath":[{"anything-but":{"wildcard":""}}]}}`, `{"detail":{"FilePath":"dir/init/file"}}`, true},
		{"R content_anything_wildcard_int", "… a number", `{"detail":{"FilePath":[{"anything-but":{"wildcard":"*/init/*"}}]}}`, `{"detail":{"FilePath":12}}`, true},
		{"R content_anything_wildcard_missing_NEG", "… missing", `{"detail":{"FilePath":[{"anything-but":{"wildcard":"*/init/*"}}]}}`, `{"detail":{}}`, false},
		{"R content_anything_wildcard_null", "… null", `{"detail":{"FilePath":[{"anything-but":{"wildcard":"*/init/*"}}]}}`, `{"detail":{"FilePath":null}}`, true},
		{"R content_anything_wildcard_list", "anything-but wildcards", `{"detail":{"FilePath":[{"anything-but":{"wildcard":["*/init/*","*/dir/*"]}}]}}`, `{"detail":{"FilePath":"a/post/b"}}`, true},
		{"R content_anything_wildcard_list_NEG", "… one of them", `{"detail":{"FilePath":[{"anything-but":{"wildcard":["*/init/*","*/dir/*"]}}]}}`, `{"detail":{"FilePath":"a/dir/b"}}`, false},
		{"R content_anything_wildcard_list_missing_NEG", "… missing", `{"detail":{"FilePath":[{"anything-but":{"wildcard":["*/init/*","*/dir/*"]}}]}}`, `{"detail":{}}`, false},
		{"R content_anything_wildcard_list_null", "… null", `{"detail":{"FilePath":[{"anything-but":{"wildcard":["*/init/*","*/dir/*"]}}]}}`, `{"detail":{"FilePath":null}}`, true},

		{"R content_wildcard_simplified", "two stars", `{"EventBusArn":[{"wildcard":"arn:aws:events:us-east-1:*:event-bus/*"}]}`, bus, true},
		{"R content_wildcard_nonrepeating", "one star", `{"FileName":[{"wildcard":"/Users/*/doc.txt"}]}`, doc, true},
		{"R content_wildcard_nonrepeating_NEG", "one star, another", `{"FileName":[{"wildcard":"/Users/*/doc.txt"}]}`, `{"FileName":"/Users/ls_user/dir/doc.bin"}`, false},
		{"R content_wildcard_repeating", "what follows repeats itself", `{"FileName":[{"wildcard":"/Users/*/dir/dir/dir/dir/dir/doc.txt"}]}`, doc, true},
		{"R content_wildcard_repeating_NEG", "what follows repeats itself, another", `{"FileName":[{"wildcard":"/Users/*/dir/dir/dir/dir/dir/doc.txt"}]}`, `{"FileName":"/Users/ls_user/dir/dir/dir/dir/otherdir/doc.txt"}`, false},
		{"R content_wildcard_empty", "the empty one is the empty string", `{"FileName":[{"wildcard":""}]}`, `{"FileName":""}`, true},
		{"R content_wildcard_empty_NEG", "the empty one is no other", `{"FileName":[{"wildcard":""}]}`, doc, false},

		{"R content_numeric_and", "ranges", `{"detail":{"c-count":[{"numeric":[">",0,"<=",5]}],"d-count":[{"numeric":["<",10]}],"x-limit":[{"numeric":["=",3.018e2]}]}}`, `{"detail":{"c-count":3,"d-count":5,"x-limit":301.8}}`, true},
		{"R content_numeric_and_NEG", "ranges, one is not met", `{"detail":{"c-count":[{"numeric":[">",0,"<=",5]}],"d-count":[{"numeric":["<",10]}],"x-limit":[{"numeric":["=",3.018e2]}]}}`, `{"detail":{"c-count":3,"d-count":11,"x-limit":301.8}}`, false},
		{"R content_ip_address", "cidr", `{"detail":{"sourceIPAddress":[{"cidr":"10.0.0.0/24"}]}}`, `{"detail":{"sourceIPAddress":"10.0.0.255"}}`, true},
		{"R content_ip_address_NEG", "cidr, outside", `{"detail":{"sourceIPAddress":[{"cidr":"10.0.0.0/24"}]}}`, `{"detail":{"sourceIPAddress":"10.0.1.255"}}`, false},
		{"R content_ip_address_bad_type_NEG", "cidr, no string", `{"detail":{"sourceIPAddress":[{"cidr":"10.0.0.0/24"}]}}`, `{"detail":{"sourceIPAddress":123}}`, false},
		{"R content_ip_address_v6", "cidr, version 6", `{"detail":{"sourceIPAddress":[{"cidr":"2001:db8:1234:1a00::/64"}]}}`, `{"detail":{"sourceIPAddress":"2001:0db8:1234:1a00:0000:0000:0000:0000"}}`, true},
		{"R content_ip_address_v6_NEG", "cidr, version 6, outside", `{"detail":{"sourceIPAddress":[{"cidr":"2001:db8:1234:1a00::/64"}]}}`, `{"detail":{"sourceIPAddress":"2001:0db8:123f:1a01:0000:0000:0000:0000"}}`, false},

		{"R complex_many_rules", "many operators at once", `{"source":[{"exists":true}],"detail-type":[{"prefix":"core.app"}],"detail":{"description":["this-is-event-details"],"amount":[200],"salary":[2000,4000],"env":["dev","prod"],"user":["user1","user2","user3"],"admins":["skyli",{"prefix":"hey"},{"prefix":"ad"}],"test1":[{"anything-but":200}],"test2":[{"anything-but":"test2"}],"test3":[{"anything-but":["test3","test33"]}],"test4":[{"anything-but":{"prefix":"test4"}}],"ip":[{"cidr":"10.102.1.0/24"}],"num-test1":[{"numeric":["<",200]}],"num-test2":[{"numeric":["<=",200]}],"num-test3":[{"numeric":[">",200]}],"num-test4":[{"numeric":[">=",200]}],"num-test5":[{"numeric":[">=",200,"<=",500]}],"num-test6":[{"numeric":[">",200,"<",500]}],"num-test7":[{"numeric":[">=",200,"<",500]}]}}`, many, true},
		{"R complex_multi_match", "several fields", `{"time":[{"prefix":"2022-07-13"}],"detail":{"state":[{"anything-but":"initializing"}],"c-count":[{"numeric":[">",0,"<=",5]}],"d-count":[{"numeric":["<",10]}],"x-limit":[{"anything-but":[100,200,300]}]}}`, `{"time":"2022-07-13T13:48:01Z","detail":{"state":"processing","c-count":3,"d-count":9,"x-limit":301.8}}`, true},
		{"R complex_multi_match_NEG", "several fields, one fails", `{"time":[{"prefix":"2022-07-13"}],"detail":{"state":[{"anything-but":"initializing"}],"c-count":[{"numeric":[">",0,"<=",5]}],"d-count":[{"numeric":["<",10]}],"x-limit":[{"anything-but":[100,200,300]}]}}`, `{"time":"2022-07-13T13:48:01Z","detail":{"state":"processing","c-count":3,"d-count":9,"x-limit":300}}`, false},
		{"R complex_or", "$or", `{"detail":{"$or":[{"c-count":[{"numeric":[">",0,"<=",5]}]},{"d-count":[{"numeric":["<",10]}]},{"x-limit":[{"numeric":["=",3.018e2]}]}]}}`, `{"detail":{"c-count":0,"d-count":10,"x-limit":3.018e2}}`, true},
		{"R complex_or_NEG", "$or, none", `{"detail":{"$or":[{"c-count":[{"numeric":[">",0,"<=",5]}]},{"d-count":[{"numeric":["<",10]}]},{"x-limit":[{"numeric":["=",3.018e2]}]}]}}`, `{"detail":{"c-count":0,"d-count":10,"x-limit":9.018e2}}`, false},

		{"R dot_joining_event", "dots in an event's key", `{"detail":{"state":{"status":["running"]}}}`, `{"detail":{"state.status":"running"}}`, true},
		{"R dot_joining_event_NEG", "dots in an event's key and one level more", `{"detail":{"state":{"status":["running"]}}}`, `{"detail":{"state.status":{"status":"running"}}}`, false},
		{"R dot_joining_pattern", "dots in a pattern's key", `{"detail":{"state.status":["running"]}}`, `{"detail":{"state":{"status":"running"}}}`, true},
		{"R dot_joining_pattern_NEG", "dots in a pattern's key and one level more", `{"detail":{"state.status":{"status":["running"]}}}`, `{"detail":{"state":{"status":"running"}}}`, false},
	})
}

func TestRecordedRefusals(t *testing.T) {
	refusals(t, []refusal{
		{"R int_nolist_EXC", `{"int":42}`, `"int" must be an object or an array`},
		{"R string_nolist_EXC", `{"string":"my-value"}`, `"string" must be an object or an array`},
		{"R arrays_empty_EXC", `{"resources":[]}`, "Empty arrays are not allowed"},
		{"R operator_case_sensitive_EXC", `{"my_key":[{"EXISTS":true}]}`, "Unrecognized match type EXISTS"},
		{"R content_numeric_operatorcasing_EXC", `{"detail":{"equal":[{"NUMERIC":["=",5]}]}}`, "Unrecognized match type NUMERIC"},
		{"R content_numeric_EXC", `{"detail":{"c-count":[{"numeric":[">",0,">",0]}]}}`, "Bad numeric range operator: >"},
		{"R content_numeric_syntax_EXC", `{"detail":{"c-count":[{"numeric":[">",0,"<"]}]}}`, "Value of < must be numeric"},
		{"R content_prefix_int_EXC", `{"time":[{"prefix":123}]}`, "prefix match pattern must be a string"},
		{"R content_prefix_list_EXC", `{"time":[{"prefix":["2022-07-13"]}]}`, "prefix match pattern must be a string"},
		{"R content_suffix_int_EXC", `{"FileName":[{"suffix":123}]}`, "suffix match pattern must be a string"},
		{"R content_suffix_list_EXC", `{"FileName":[{"suffix":[".png"]}]}`, "suffix match pattern must be a string"},
		{"R content_ignorecase_EXC", `{"detail-type":[{"equals-ignore-case":["ec2 instance"]}]}`, "equals-ignore-case match pattern must be a string"},
		{"R content_ignorecase_list_EXC", `{"detail-type":[{"equals-ignore-case":{"prefix":"ec2"}}]}`, "equals-ignore-case match pattern must be a string"},
		{"R content_wildcard_int_EXC", `{"EventBusArn":[{"wildcard":123}]}`, "wildcard match pattern must be a string"},
		{"R content_wildcard_list_EXC", `{"EventBusArn":[{"wildcard":["arn:*"]}]}`, "wildcard match pattern must be a string"},
		{"R content_wildcard_repeating_star_EXC", `{"EventBusArn":[{"wildcard":"arn:aws:events:us-east-1:**:event-bus/*"}]}`, "Consecutive wildcard characters at pos 26"},
		{"R content_wildcard_complex_EXC", `{"EventBusArn":[{"wildcard":"*:*:*:*:*:event-bus/*"}]}`, "Rule is too complex - try using fewer wildcard characters or fewer repeating character sequences after a wildcard character"},
		{"R content_ip_address_EXC", `{"detail":{"sourceIPAddress":[{"cidr":"bad-filter"}]}}`, "Malformed CIDR, one '/' required"},
		{"R content_ip_address_bad_mask_EXC", `{"detail":{"sourceIPAddress":[{"cidr":"bad-/64filter"}]}}`, "Malformed CIDR, mask bits must be an integer"},
		{"R content_ip_address_bad_ip_EXC", `{"detail":{"sourceIPAddress":[{"cidr":"xx.11.xx/8"}]}}`, "Nonstandard IP address: xx.11.xx"},
		{"R content_ip_address_v6_bad_ip_EXC", `{"detail":{"sourceIPAddress":[{"cidr":"xxxx:db8:1234:1a00::/64"}]}}`, "Nonstandard IP address: xxxx:db8:1234:1a00::"},
		{"R content_ip_address_type_EXC", `{"detail":{"sourceIPAddress":[{"cidr":["bad-type"]}]}}`, "prefix match pattern must be a string"},
		{"R content_anything_but_ignorecase_EXC", `{"detail":{"state":[{"anything-but":{"equals-ignore-case":123}}]}}`, "Inside anything-but/equals-ignore-case list, number|start|null|boolean is not supported."},
		{"R content_anything_but_ignorecase_list_EXC", `{"detail":{"state":[{"anything-but":{"equals-ignore-case":[123,456]}}]}}`, "Inside anything-but/equals-ignore-case list, number|start|null|boolean is not supported."},
		{"R content_anything_but_string_list_null_type_EXC", `{"detail":{"state":[{"anything-but":["stopped",null]}]}}`, "Inside anything but list, start|null|boolean is not supported."},
		{"R content_anything_but_string_null_type_EXC", `{"detail":{"state":[{"anything-but":null}]}}`, "Value of anything-but must be an array or single string/number value."},
		{"R content_anything_prefix_int_EXC", `{"detail":{"state":[{"anything-but":{"prefix":123}}]}}`, "prefix/suffix match pattern must be a string"},
		{"R content_anything_prefix_list_type_EXC", `{"detail":{"state":[{"anything-but":{"prefix":[123,"test"]}}]}}`, "prefix/suffix match pattern must be a string"},
		{"R content_anything_prefix_empty_EXC", `{"detail":{"state":[{"anything-but":{"prefix":""}}]}}`, "Null prefix/suffix not allowed"},
		{"R content_anything_prefix_ignorecase_EXC", `{"detail":{"FileName":[{"anything-but":{"prefix":{"equals-ignore-case":"file"}}}]}}`, "Value of anything-but must be an array or single string/number value."},
		{"R content_anything_suffix_int_EXC", `{"detail":{"FileName":[{"anything-but":{"suffix":123}}]}}`, "prefix/suffix match pattern must be a string"},
		{"R content_anything_suffix_list_type_EXC", `{"detail":{"FileName":[{"anything-but":{"suffix":[123,".txt"]}}]}}`, "prefix/suffix match pattern must be a string"},
		{"R content_anything_suffix_list_null_type_EXC", `{"detail":{"FileName":[{"anything-but":{"suffix":[".txt",null]}}]}}`, "prefix/suffix match pattern must be a string"},
		{"R content_anything_suffix_empty_EXC", `{"detail":{"FileName":[{"anything-but":{"suffix":""}}]}}`, "Null prefix/suffix not allowed"},
		{"R content_anything_suffix_ignorecase_EXC", `{"detail":{"FileName":[{"anything-but":{"suffix":{"equals-ignore-case":".png"}}}]}}`, "Value of anything-but must be an array or single string/number value."},
		{"R content_anything_wildcard_type_EXC", `{"detail":{"FilePath":[{"anything-but":{"wildcard":123}}]}}`, "wildcard match pattern must be a string"},
		{"R content_anything_wildcard_list_type_EXC", `{"detail":{"state":[{"anything-but":{"wildcard":[123,"*/dir/*"]}}]}}`, "wildcard match pattern must be a string"},
		{"R test_invalid_json_event_pattern", `["not","a","dict","but valid json"]`, "Filter is not an object"},
	})
	// Three more patterns there are no JSON.
	for _, p := range []string{"this is valid json but not a dict", "{'bad': 'quotation'}", `{"not": closed mark"`} {
		if _, err := Compile([]string{p}, Options{}); err == nil {
			t.Errorf("R test_invalid_json_event_pattern: %s is taken", p)
		}
	}
}

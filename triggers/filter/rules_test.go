package filter

import (
	"errors"
	"strings"
	"testing"

	"github.com/wasmill/wasmill/runtime"
	"github.com/wasmill/wasmill/triggers"
)

const (
	staff  = `{"employees":[{"firstName":"John","lastName":"Doe"},{"firstName":"Anna","lastName":"Smith"},{"firstName":"Peter","lastName":"Jones"}]}`
	nested = `{"employees":[[{"firstName":"John","lastName":"Doe"},{"firstName":"Anna","lastName":"Smith"}],[{"firstName":"Peter","lastName":"Jones"}]]}`
	orders = `{"orders":[{"id":1,"lines":[{"sku":"a","n":1},{"sku":"b","n":2}]},{"id":2,"lines":[{"sku":"a","n":2},{"sku":"c","n":3}]}]}`
)

func TestGrammar(t *testing.T) {
	language(t, []row{
		{"9.2", "keys are and-ed: both", `{"a":["x"],"b":["y"]}`, `{"a":"x","b":"y"}`, true},
		{"9.2", "keys are and-ed: one", `{"a":["x"],"b":["y"]}`, `{"a":"x","b":"z"}`, false},
		{"9.2", "keys are and-ed: the other", `{"a":["x"],"b":["y"]}`, `{"a":"z","b":"y"}`, false},
		{"9.2", "keys are and-ed: one is missing", `{"a":["x"],"b":["y"]}`, `{"a":"x"}`, false},
		{"9.2", "objects walk down", `{"a":{"b":{"c":["x"]}}}`, `{"a":{"b":{"c":"x"}}}`, true},
		{"9.2", "objects walk down: a value on the way", `{"a":{"b":{"c":["x"]}}}`, `{"a":{"b":"x"}}`, false},
		{"9.2", "objects walk down: null on the way", `{"a":{"b":{"c":["x"]}}}`, `{"a":null}`, false},
		{"9.2", "elements are or-ed: first", `{"a":["x","y"]}`, `{"a":"x"}`, true},
		{"9.2", "elements are or-ed: second", `{"a":["x","y"]}`, `{"a":"y"}`, true},
		{"9.2", "elements are or-ed: none", `{"a":["x","y"]}`, `{"a":"z"}`, false},
		{"9.2", "elements of kinds are or-ed", `{"a":["x",1,true,null,{"prefix":"p"}]}`, `{"a":"pq"}`, true},
		{"9.2", "elements of kinds are or-ed: a number", `{"a":["x",1,true,null,{"prefix":"p"}]}`, `{"a":1}`, true},
		{"9.2", "elements of kinds are or-ed: null", `{"a":["x",1,true,null,{"prefix":"p"}]}`, `{"a":null}`, true},
		{"9.2", "elements of kinds are or-ed: true", `{"a":["x",1,true,null,{"prefix":"p"}]}`, `{"a":true}`, true},
		{"9.2", "elements of kinds are or-ed: false is none", `{"a":["x",1,true,null,{"prefix":"p"}]}`, `{"a":false}`, false},
		{"9.2", "what is not mentioned is ignored", `{"a":["x"]}`, `{"z":[[{}]],"a":"x","b":{"a":"y"}}`, true},
		{"9.2", "a key is looked for at its level", `{"a":["x"]}`, `{"b":{"a":"x"}}`, false},
		{"9.2", "duplicate keys of a pattern: the last", `{"a":["x"],"a":["y"]}`, `{"a":"y"}`, true},
		{"9.2", "duplicate keys of a pattern: not the first", `{"a":["x"],"a":["y"]}`, `{"a":"x"}`, false},
		{"9.2", "duplicate objects of a pattern: the last alone", `{"a":{"b":["x"]},"a":{"c":["y"]}}`, `{"a":{"c":"y"}}`, true},
		{"9.2", "duplicate keys of an event: the last", `{"a":["x"]}`, `{"a":"y","a":"x"}`, true},
		{"9.2", "duplicate keys of an event: not the first", `{"a":["x"]}`, `{"a":"x","a":"y"}`, false},
		{"9.2", "duplicate objects of an event: the last alone", `{"a":{"b":["x"]}}`, `{"a":{"b":"x"},"a":{"c":"y"}}`, false},
		{"9.2", "duplicate keys of an event: an array, then a value", `{"a":{"b":["x"],"c":["y"]}}`, `{"a":[{"b":"x","c":"y"}],"a":{"b":"x"}}`, false},
		{"9.2", "duplicate keys in an element", `{"a":{"b":["x"]}}`, `{"a":[{"b":"x","b":"y"},{"b":"z"}]}`, false},
		{"9.2", "true is no string", `{"a":[true]}`, `{"a":"true"}`, false},
		{"9.2", `"true" is no literal`, `{"a":["true"]}`, `{"a":true}`, false},
		{"9.2", "false is false", `{"a":[false]}`, `{"a":false}`, true},
		{"9.2", "1 is no string", `{"a":[1]}`, `{"a":"1"}`, false},
		{"9.2", `"1" is no number`, `{"a":["1"]}`, `{"a":1}`, false},
		{"9.2", "exactly", `{"a":[{"exactly":"x"}]}`, `{"a":"x"}`, true},
		{"9.2", "exactly, another", `{"a":[{"exactly":"x"}]}`, `{"a":"X"}`, false},
		{"9.2", "exactly, a number", `{"a":[{"exactly":"1"}]}`, `{"a":1}`, false},
		{"9.2", "an address is any string that is the same address", `{"a":["2001:db8::1"]}`, `{"a":"2001:0db8:0:0:0:0:0:1"}`, true},
		{"9.2", "an address is no other", `{"a":["2001:db8::1"]}`, `{"a":"2001:db8::2"}`, false},

		{"9.2", "$or: one", `{"$or":[{"a":["x"]},{"b":["y"]}]}`, `{"a":"x"}`, true},
		{"9.2", "$or: the other", `{"$or":[{"a":["x"]},{"b":["y"]}]}`, `{"b":"y"}`, true},
		{"9.2", "$or: none", `{"$or":[{"a":["x"]},{"b":["y"]}]}`, `{"a":"y","b":"x"}`, false},
		{"9.2", "$or and a sibling", `{"s":["z"],"$or":[{"a":["x"]},{"b":["y"]}]}`, `{"s":"z","b":"y"}`, true},
		{"9.2", "$or and a sibling that fails", `{"s":["z"],"$or":[{"a":["x"]},{"b":["y"]}]}`, `{"s":"x","b":"y"}`, false},
		{"9.2", "$or and a sibling after it", `{"$or":[{"a":["x"]},{"b":["y"]}],"s":["z"]}`, `{"b":"y"}`, false},
		{"9.2", "$or with and within", `{"$or":[{"a":["x"],"c":["z"]},{"b":["y"]}]}`, `{"a":"x"}`, false},
		{"9.2", "$or with and within, both", `{"$or":[{"a":["x"],"c":["z"]},{"b":["y"]}]}`, `{"a":"x","c":"z"}`, true},
		{"9.2", "nested $or", `{"$or":[{"a":["x"],"$or":[{"c":[1]},{"d":[2]}]},{"b":["y"]}]}`, `{"a":"x","d":2}`, true},
		{"9.2", "nested $or, the inner fails", `{"$or":[{"a":["x"],"$or":[{"c":[1]},{"d":[2]}]},{"b":["y"]}]}`, `{"a":"x","d":1}`, false},
		{"9.2", "nested $or, the outer's other", `{"$or":[{"a":["x"],"$or":[{"c":[1]},{"d":[2]}]},{"b":["y"]}]}`, `{"b":"y"}`, true},
		{"9.2", "parallel $or", `{"$or":[{"a":["x"]},{"b":["y"]}],"d":{"$or":[{"e":[1]},{"f":[2]}]}}`, `{"b":"y","d":{"f":2}}`, true},
		{"9.2", "parallel $or, one fails", `{"$or":[{"a":["x"]},{"b":["y"]}],"d":{"$or":[{"e":[1]},{"f":[2]}]}}`, `{"b":"y","d":{"f":1}}`, false},
		{"9.2", "$or below a key", `{"d":{"$or":[{"e":[1]},{"f":[2]}]}}`, `{"e":1}`, false},
		{"9.2", "$or with objects", `{"$or":[{"d":{"e":[1]}},{"d":{"f":[2]}}]}`, `{"d":{"f":2}}`, true},
		{"9.2", "$or of three", `{"$or":[{"a":[1]},{"a":[2]},{"a":[3]}]}`, `{"a":3}`, true},
		{"9.2", "$or with missing", `{"$or":[{"a":[{"exists":false}]},{"b":[1]}]}`, `{"c":1}`, true},
		{"9.2", "$or, an alternative's path counts for its sibling's", `{"#a":["x"],"$or":[{"#a":["y"]},{"b":[1]}]}`, `{"#a":"y"}`, true},
		{"9.2", "$or of strings is a field", `{"$or":["x","y"]}`, `{"$or":"y"}`, true},
		{"9.2", "$or of operators is a field", `{"$or":[{"prefix":"x"},{"suffix":"y"}]}`, `{"$or":"xa"}`, true},
		{"9.2", "$or of one operator is a field", `{"$or":[{"exists":false}]}`, `{"a":1}`, true},
		{"9.2", "$or as an object is a field", `{"$or":{"a":["x"]}}`, `{"$or":{"a":"x"}}`, true},
		{"9.2", "$or as an object looks at no other", `{"$or":{"a":["x"]}}`, `{"a":"x"}`, false},
		{"9.2", "$OR is a field", `{"$OR":{"a":["x"]}}`, `{"$OR":{"a":"x"}}`, true},
	})
}

func TestStrings(t *testing.T) {
	language(t, []row{
		{"9.3", "case counts", `{"a":["Running"]}`, `{"a":"running"}`, false},
		{"9.3", "white space counts", `{"a":["running"]}`, `{"a":"running "}`, false},
		{"9.3", "white space in front counts", `{"a":["running"]}`, `{"a":" running"}`, false},
		{"9.3", "Unicode", `{"a":["Žluťoučký kůň 🐎"]}`, `{"a":"Žluťoučký kůň 🐎"}`, true},
		{"9.3", "Unicode escaped in the event", `{"a":["ž🐎"]}`, `{"a":"\u017e\ud83d\udc0e"}`, true},
		{"9.3", "Unicode escaped in the pattern", `{"a":["\u017e\ud83d\udc0e"]}`, `{"a":"ž🐎"}`, true},
		{"9.3", "escapes are what they stand for", `{"a":["a\"b\\c\/d\n\t\r\b\f"]}`, "{\"a\":\"a\\u0022b\\u005Cc/d\\u000a\\u0009\\u000D\\u0008\\u000C\"}", true},
		{"9.3", "escaped keys of the event", `{"key":["x"]}`, `{"k\u0065y":"x"}`, true},
		{"9.3", "escaped keys of the pattern", `{"k\u0065y":["x"]}`, `{"key":"x"}`, true},
		{"9.3", "escaped dots are dots", `{"a":{"b":["x"]}}`, `{"a\u002eb":"x"}`, true},
		{"9.3", "Unicode keys", `{"ключ":["x"]}`, `{"ключ":"x"}`, true},
		{"9.3", "composed letters are others", "{\"a\":[\"\u00e9\"]}", "{\"a\":\"e\u0301\"}", false},
		{"9.3", "keys have a case", `{"Key":["x"]}`, `{"key":"x"}`, false},
		{"9.3", `[""] is not null`, `{"a":[""]}`, `{"a":null}`, false},
		{"9.3", `[""] is not missing`, `{"a":[""]}`, `{}`, false},
		{"9.3", `[""] is not []`, `{"a":[""]}`, `{"a":[]}`, false},
		{"9.3", `[""] is not {}`, `{"a":[""]}`, `{"a":{}}`, false},
		{"9.3", `[""] is not 0`, `{"a":[""]}`, `{"a":0}`, false},
		{"9.3", "[null] is not missing", `{"a":[null]}`, `{"b":null}`, false},
		{"9.3", "[null] is not false", `{"a":[null]}`, `{"a":false}`, false},
		{"9.3", "[null] is not {}", `{"a":[null]}`, `{"a":{}}`, false},
		{"9.3", "[null] in an array", `{"a":[null]}`, `{"a":[1,null]}`, true},
		{"9.3", "an empty key", `{"":["x"]}`, `{"":"x"}`, true},
		{"9.3", "an empty key below one", `{"a":{"":["x"]}}`, `{"a":{"":"x"}}`, true},
		{"9.3", "an empty key is not its parent", `{"a":{"":["x"]}}`, `{"a":"x"}`, false},
		{"9.3", "a JSON string in a string", `{"a":["{\"b\":1}"]}`, `{"a":"{\"b\":1}"}`, true},
		{"9.3", "prefix of the whole", `{"a":[{"prefix":"abc"}]}`, `{"a":"abc"}`, true},
		{"9.3", "prefix longer than the value", `{"a":[{"prefix":"abcd"}]}`, `{"a":"abc"}`, false},
		{"9.3", "prefix of a number is none", `{"a":[{"prefix":"1"}]}`, `{"a":12}`, false},
		{"9.3", "prefix of null is none", `{"a":[{"prefix":"n"}]}`, `{"a":null}`, false},
		{"9.3", `prefix "" of null is none`, `{"a":[{"prefix":""}]}`, `{"a":null}`, false},
		{"9.3", `prefix "" of the empty string`, `{"a":[{"prefix":""}]}`, `{"a":""}`, true},
		{"9.3", `suffix "" of the empty string`, `{"a":[{"suffix":""}]}`, `{"a":""}`, true},
		{"9.3", "suffix longer than the value", `{"a":[{"suffix":"xabc"}]}`, `{"a":"abc"}`, false},
		{"9.3", "suffix of a number is none", `{"a":[{"suffix":"2"}]}`, `{"a":12}`, false},
		{"9.3", "prefix has a case", `{"a":[{"prefix":"A"}]}`, `{"a":"abc"}`, false},
		{"9.3", "suffix has a case", `{"a":[{"suffix":"C"}]}`, `{"a":"abc"}`, false},
		{"9.3", "prefix within a letter", `{"a":[{"prefix":"\u00c3"}]}`, `{"a":"é"}`, false},
		{"9.2", "any case, Unicode", `{"a":[{"equals-ignore-case":"ÉTÉ Ж"}]}`, `{"a":"été ж"}`, true},
		{"9.2", "any case, longer", `{"a":[{"equals-ignore-case":"ab"}]}`, `{"a":"ABC"}`, false},
		{"9.2", "any case, shorter", `{"a":[{"equals-ignore-case":"abc"}]}`, `{"a":"AB"}`, false},
		{"9.2", "any case, a number", `{"a":[{"equals-ignore-case":"1"}]}`, `{"a":1}`, false},
		{"9.2", "any case, prefix, Unicode", `{"a":[{"prefix":{"equals-ignore-case":"éC"}}]}`, `{"a":"École"}`, true},
		{"9.2", "any case, prefix, letters with marks are others", `{"a":[{"prefix":{"equals-ignore-case":"ec"}}]}`, `{"a":"École"}`, false},
		{"9.2", "any case, suffix, Unicode", `{"a":[{"suffix":{"equals-ignore-case":"É"}}]}`, `{"a":"été"}`, true},
		{"9.2", "any case, suffix longer than the value", `{"a":[{"suffix":{"equals-ignore-case":"xÉ"}}]}`, `{"a":"é"}`, false},
		{"9.2", "any case, prefix longer than the value", `{"a":[{"prefix":{"equals-ignore-case":"éx"}}]}`, `{"a":"é"}`, false},
		{"9.3", "wildcard: nothing for a star", `{"a":[{"wildcard":"a*b"}]}`, `{"a":"ab"}`, true},
		{"9.3", "wildcard: anything for a star", `{"a":[{"wildcard":"a*b"}]}`, `{"a":"a*b é b"}`, true},
		{"9.3", "wildcard: to the end", `{"a":[{"wildcard":"a*b"}]}`, `{"a":"abc"}`, false},
		{"9.3", "wildcard: from the beginning", `{"a":[{"wildcard":"a*b"}]}`, `{"a":"xab"}`, false},
		{"9.3", "wildcard: ends do not overlap", `{"a":[{"wildcard":"aba*aba"}]}`, `{"a":"ababa"}`, false},
		{"9.3", "wildcard: star in front", `{"a":[{"wildcard":"*b"}]}`, `{"a":"aab"}`, true},
		{"9.3", "wildcard: star at the end", `{"a":[{"wildcard":"a*"}]}`, `{"a":"a"}`, true},
		{"9.3", "wildcard: only a star", `{"a":[{"wildcard":"*"}]}`, `{"a":""}`, true},
		{"9.3", "wildcard: only a star is no number", `{"a":[{"wildcard":"*"}]}`, `{"a":1}`, false},
		{"9.3", "wildcard: pieces in order", `{"a":[{"wildcard":"*b*c*"}]}`, `{"a":"acb"}`, false},
		{"9.3", "wildcard: pieces in order, found", `{"a":[{"wildcard":"*b*c*"}]}`, `{"a":"acbc"}`, true},
		{"9.3", "wildcard: a star escaped", `{"a":[{"wildcard":"a\\*b"}]}`, `{"a":"a*b"}`, true},
		{"9.3", "wildcard: a star escaped is no star", `{"a":[{"wildcard":"a\\*b"}]}`, `{"a":"axb"}`, false},
		{"9.3", "wildcard: a backslash escaped", `{"a":[{"wildcard":"a\\\\*"}]}`, `{"a":"a\\x"}`, true},
		{"9.3", "wildcard: a star and an escaped one", `{"a":[{"wildcard":"*\\*"}]}`, `{"a":"xy*"}`, true},
		{"9.3", "wildcard: ? is a character", `{"a":[{"wildcard":"a?"}]}`, `{"a":"ab"}`, false},
		{"9.3", "wildcard: has a case", `{"a":[{"wildcard":"A*"}]}`, `{"a":"ab"}`, false},
	})
}

func TestNumbers(t *testing.T) {
	language(t, []row{
		{"9.3", "300 is 300.0", `{"a":[300.0]}`, `{"a":300}`, true},
		{"9.3", "3.0e2 is 300", `{"a":[3.0e2]}`, `{"a":300}`, true},
		{"9.3", "300 is 3E+2", `{"a":[300]}`, `{"a":3E+2}`, true},
		{"9.3", "0 is -0.0", `{"a":[0]}`, `{"a":-0.0}`, true},
		{"9.3", "0 is 0e99", `{"a":[0]}`, `{"a":0e99}`, true},
		{"9.3", "-1 is not 1", `{"a":[-1]}`, `{"a":1}`, false},
		{"9.3", "1 is not 10", `{"a":[1]}`, `{"a":10}`, false},
		{"9.3", "0.1 is 1e-1", `{"a":[0.1]}`, `{"a":1e-1}`, true},
		{"9.3", "0.1 is 0.0001e3", `{"a":[0.1]}`, `{"a":0.0001e3}`, true},
		{"9.3", "15 digits are told apart", `{"a":[4999999999.999999]}`, `{"a":4999999999.999998}`, false},
		{"9.3", "15 digits are equal", `{"a":[4999999999.999999]}`, `{"a":4999999999.9999990}`, true},
		{"9.3", "0.30000000000000004 is not 0.3", `{"a":[0.3]}`, `{"a":0.30000000000000004}`, false},
		{"9.3", "beyond the bounds, written alike", `{"a":[123456789012]}`, `{"a":123456789012}`, true},
		{"9.3", "beyond the bounds, digits are told apart", `{"a":[12345678901234567890]}`, `{"a":12345678901234567891}`, false},
		{"9.3", "an account's number in an array", `{"a":[1,123456789012]}`, `{"a":[123456789012]}`, true},
		{"9.2", "= of a float", `{"a":[{"numeric":["=",5]}]}`, `{"a":5.00}`, true},
		{"9.2", "= of another", `{"a":[{"numeric":["=",5]}]}`, `{"a":5.000001}`, false},
		{"9.2", "< below", `{"a":[{"numeric":["<",5]}]}`, `{"a":4.999999}`, true},
		{"9.2", "< at", `{"a":[{"numeric":["<",5]}]}`, `{"a":5}`, false},
		{"9.2", "<= at", `{"a":[{"numeric":["<=",5]}]}`, `{"a":5.0}`, true},
		{"9.2", "<= above", `{"a":[{"numeric":["<=",5]}]}`, `{"a":5.000001}`, false},
		{"9.2", "> at", `{"a":[{"numeric":[">",5]}]}`, `{"a":5}`, false},
		{"9.2", "> above", `{"a":[{"numeric":[">",5]}]}`, `{"a":5.000001}`, true},
		{"9.2", ">= at", `{"a":[{"numeric":[">=",5]}]}`, `{"a":5}`, true},
		{"9.2", ">= below", `{"a":[{"numeric":[">=",5]}]}`, `{"a":4.999999}`, false},
		{"9.2", "a range: in", `{"a":[{"numeric":[">",0,"<=",5]}]}`, `{"a":5}`, true},
		{"9.2", "a range: its lower end", `{"a":[{"numeric":[">",0,"<=",5]}]}`, `{"a":0}`, false},
		{"9.2", "a range: above", `{"a":[{"numeric":[">",0,"<",5]}]}`, `{"a":5}`, false},
		{"9.2", "a range: closed below", `{"a":[{"numeric":[">=",0,"<",5]}]}`, `{"a":0}`, true},
		{"9.2", "a range of negative numbers", `{"a":[{"numeric":[">=",-10.5,"<",-1]}]}`, `{"a":-10.5}`, true},
		{"9.2", "a range of negative numbers: outside", `{"a":[{"numeric":[">=",-10.5,"<",-1]}]}`, `{"a":-10.500001}`, false},
		{"9.2", "ranges are or-ed", `{"a":[{"numeric":["<",0]},{"numeric":[">",10]}]}`, `{"a":11}`, true},
		{"9.2", "ranges are or-ed: between", `{"a":[{"numeric":["<",0]},{"numeric":[">",10]}]}`, `{"a":5}`, false},
		{"9.3", "numeric, true", `{"a":[{"numeric":["=",1]}]}`, `{"a":true}`, false},
		{"9.3", "numeric, missing", `{"a":[{"numeric":["=",0]}]}`, `{}`, false},
		{"9.3", "numeric, in an array", `{"a":[{"numeric":[">",5]}]}`, `{"a":[1,9]}`, true},
		{"9.3", "numeric at the bound", `{"a":[{"numeric":["<=",5000000000]}]}`, `{"a":5e9}`, true},
		{"9.3", "numeric at the lower bound", `{"a":[{"numeric":[">=",-5000000000]}]}`, `{"a":-5000000000}`, true},
		{"9.3", "no operator takes what is beyond the bounds", `{"a":[{"numeric":[">",5]}]}`, `{"a":5000000001}`, false},
		{"9.3", "no operator takes what is just beyond them", `{"a":[{"numeric":[">",5]}]}`, `{"a":5000000000.0000001}`, false},
		{"9.3", "no operator takes what is below them", `{"a":[{"numeric":["<",5]}]}`, `{"a":-5000000001}`, false},
		{"9.3", "nor what is endless", `{"a":[{"numeric":[">",5]}]}`, `{"a":1e400}`, false},
		{"ours", "more than six decimals compare by value", `{"a":[{"numeric":[">",0.123456]}]}`, `{"a":0.1234561}`, true},
		{"ours", "more than six decimals are not equal", `{"a":[{"numeric":["=",0.123456]}]}`, `{"a":0.1234561}`, false},
		{"ours", "more than six decimals, negative", `{"a":[{"numeric":["<",-0.123456]}]}`, `{"a":-0.1234561}`, true},
		{"ours", "tiny numbers are above 0", `{"a":[{"numeric":[">",0]}]}`, `{"a":1e-300}`, true},
		{"ours", "tiny numbers below 0", `{"a":[{"numeric":["<",0]}]}`, `{"a":-1e-300}`, true},
		{"ours", "many decimals written alike are equal", `{"a":[0.12345678]}`, `{"a":0.12345678}`, true},
		{"9.1", "ApproximateCreationDateTime is a number", `{"dynamodb":{"ApproximateCreationDateTime":[{"numeric":[">",0]}]}}`, change, true},
	})
}

func TestAnythingBut(t *testing.T) {
	language(t, []row{
		{"9.3", "false is not a string", `{"a":[{"anything-but":"false"}]}`, `{"a":false}`, true},
		{"9.3", "a number is not a string", `{"a":[{"anything-but":"1"}]}`, `{"a":1}`, true},
		{"9.3", "a string is not a number", `{"a":[{"anything-but":1}]}`, `{"a":"1"}`, true},
		{"9.3", "1.0 is 1", `{"a":[{"anything-but":1}]}`, `{"a":1.0}`, false},
		{"9.3", "null is no number", `{"a":[{"anything-but":[1,2]}]}`, `{"a":null}`, true},
		{"9.3", "numbers need the key too", `{"a":[{"anything-but":[1,2]}]}`, `{"b":1}`, false},
		{"9.3", "a number beyond the bounds is another", `{"a":[{"anything-but":1}]}`, `{"a":1e12}`, true},
		{"9.3", "an object is not there", `{"a":[{"anything-but":"x"}]}`, `{"a":{"b":1}}`, false},
		{"9.3", "an empty array is not there", `{"a":[{"anything-but":"x"}]}`, `{"a":[]}`, false},
		{"9.3", "one element is another", `{"a":[{"anything-but":"x"}]}`, `{"a":["x","y"]}`, true},
		{"9.3", "all elements are it", `{"a":[{"anything-but":"x"}]}`, `{"a":["x","x"]}`, false},
		{"9.3", "the empty string", `{"a":[{"anything-but":""}]}`, `{"a":""}`, false},
		{"9.3", "case counts", `{"a":[{"anything-but":"X"}]}`, `{"a":"x"}`, true},
		{"9.3", "any case, a number", `{"a":[{"anything-but":{"equals-ignore-case":"x"}}]}`, `{"a":1}`, true},
		{"9.3", "any case, a list, a number", `{"a":[{"anything-but":{"equals-ignore-case":["x"]}}]}`, `{"a":1}`, true},
		{"9.3", "suffix, a number", `{"a":[{"anything-but":{"suffix":"x"}}]}`, `{"a":1}`, true},
		{"9.3", "suffix, true", `{"a":[{"anything-but":{"suffix":"e"}}]}`, `{"a":true}`, true},
		{"9.3", `wildcard "" is the empty string only`, `{"a":[{"anything-but":{"wildcard":""}}]}`, `{"a":""}`, false},
		{"9.3", "wildcard * is every string", `{"a":[{"anything-but":{"wildcard":"*"}}]}`, `{"a":"x"}`, false},
		{"9.3", "wildcard * is no number", `{"a":[{"anything-but":{"wildcard":"*"}}]}`, `{"a":1}`, true},
		{"9.2", "or-ed with what it excludes", `{"a":[{"anything-but":"x"},"x"]}`, `{"a":"x"}`, true},
		{"9.2", "two of them are or-ed", `{"a":[{"anything-but":"x"},{"anything-but":"y"}]}`, `{"a":"x"}`, true},
		{"9.2", "a list and a prefix are or-ed", `{"a":[{"anything-but":["xa"]},{"anything-but":{"prefix":"x"}}]}`, `{"a":"xa"}`, false},
		{"9.2", "many strings", `{"a":[{"anything-but":["a","b","c","d","e","f","g","h","i","j","k"]}]}`, `{"a":"k"}`, false},
		{"9.2", "many strings, another", `{"a":[{"anything-but":["a","b","c","d","e","f","g","h","i","j","k"]}]}`, `{"a":"l"}`, true},
		{"9.2", "many strings, plainly", `{"a":["k","j","i","h","g","f","e","d","c","b","a"]}`, `{"a":"c"}`, true},
		{"9.2", "many strings, plainly, another", `{"a":["k","j","i","h","g","f","e","d","c","b","a"]}`, `{"a":"cc"}`, false},
	})
}

func TestArrays(t *testing.T) {
	language(t, []row{
		{"9.3", "any element", `{"employees":{"firstName":["Anna"]}}`, staff, true},
		{"9.3", "all conditions in one element", `{"employees":{"firstName":["Anna"],"lastName":["Smith"]}}`, staff, true},
		{"9.3", "… not in two", `{"employees":{"firstName":["Anna"],"lastName":["Jones"]}}`, staff, false},
		{"9.3", "arrays in arrays", `{"employees":{"firstName":["Anna"],"lastName":["Smith"]}}`, nested, true},
		{"9.3", "arrays in arrays, two elements", `{"employees":{"firstName":["Anna"],"lastName":["Doe"]}}`, nested, false},
		{"9.3", "arrays in arrays, two arrays", `{"employees":{"firstName":["Peter"],"lastName":["Doe"]}}`, nested, false},
		{"9.3", "arrays in arrays, one in another's element", `{"employees":{"firstName":["Peter"],"lastName":["Jones"]}}`, nested, true},
		{"9.3", "arrays of values in arrays", `{"a":["x"]}`, `{"a":[["y"],[["x"]]]}`, true},
		{"9.3", "an array below an array", `{"orders":{"id":[2],"lines":{"sku":["a"],"n":[2]}}}`, orders, true},
		{"9.3", "an array below an array, the inner elements differ", `{"orders":{"id":[1],"lines":{"sku":["a"],"n":[2]}}}`, orders, false},
		{"9.3", "an array below an array, the outer elements differ", `{"orders":{"id":[1],"lines":{"sku":["c"]}}}`, orders, false},
		{"9.3", "two arrays are independent", `{"a":{"x":[1]},"b":{"y":[2]}}`, `{"a":[{"x":0},{"x":1}],"b":[{"y":2},{"y":0}]}`, true},
		{"9.3", "two arrays in one element", `{"o":{"a":{"x":[1]},"b":{"y":[2]}}}`, `{"o":[{"a":[{"x":1}],"b":[{"y":0}]},{"a":[{"x":0}],"b":[{"y":2}]}]}`, false},
		{"9.3", "two arrays in one element, both", `{"o":{"a":{"x":[1]},"b":{"y":[2]}}}`, `{"o":[{"a":[{"x":1}],"b":[{"y":0}]},{"a":[{"x":0},{"x":1}],"b":[{"y":2}]}]}`, true},
		{"9.3", "values beside objects", `{"a":{"x":[1]}}`, `{"a":["s",{"x":1},null]}`, true},
		{"9.3", "$or within an element", `{"e":{"k":["a"],"$or":[{"x":[1]},{"y":[1]}]}}`, `{"e":[{"k":"b","x":1},{"k":"a","y":1}]}`, true},
		{"9.3", "$or not across elements", `{"e":{"k":["a"],"$or":[{"x":[1]},{"y":[1]}]}}`, `{"e":[{"k":"b","x":1},{"k":"a","y":2}]}`, false},
		{"9.3", "exists in the same element", `{"e":{"k":["a"],"x":[{"exists":true}]}}`, `{"e":[{"k":"a"},{"k":"b","x":1}]}`, false},
		{"9.3", "missing in the same element", `{"e":{"k":["a"],"x":[{"exists":false}]}}`, `{"e":[{"k":"a"},{"k":"b","x":1}]}`, true},
		{"9.3", "missing in the same element, there", `{"e":{"k":["a"],"x":[{"exists":false}]}}`, `{"e":[{"k":"b"},{"k":"a","x":1}]}`, false},
		{"9.3", "missing, of the path that comes first: in no element", `{"e":{"k":[{"exists":false}],"x":[1]}}`, `{"e":[{"k":"a"},{"x":1}]}`, false},
		{"9.3", "missing, of the path that comes first, in none", `{"e":{"k":[{"exists":false}],"x":[1]}}`, `{"e":[{"z":"a"},{"x":1}]}`, true},
		{"9.3", "missing everywhere, an empty array", `{"e":{"k":[{"exists":false}]}}`, `{"e":[]}`, true},
		{"9.3", "missing everywhere, empty elements", `{"e":{"k":[{"exists":false}]}}`, `{"e":[{},[],"x"]}`, true},
		{"9.3", "missing, one has it", `{"e":{"k":[{"exists":false}]}}`, `{"e":[{},{"k":1}]}`, false},
		{"9.3", "missing, of a key with objects", `{"e":{"k":[{"exists":false}]}}`, `{"e":[{"k":{"z":1}}]}`, true},
		{"9.3", "nothing in an empty array", `{"e":{"k":[1]}}`, `{"e":[]}`, false},
		{"9.3", "exists of an array of values", `{"a":[{"exists":true}]}`, `{"a":[1]}`, true},
		{"9.3", "exists of an array of nulls", `{"a":[{"exists":true}]}`, `{"a":[null]}`, true},
		{"9.3", "exists of an array of objects", `{"a":[{"exists":true}]}`, `{"a":[{"b":1}]}`, false},
		{"9.3", "missing: an empty array", `{"a":[{"exists":false}]}`, `{"a":[]}`, true},
		{"9.3", "missing: null is there", `{"a":[{"exists":false}]}`, `{"a":null}`, false},
		{"9.3", "missing: the parent is a value", `{"a":{"b":[{"exists":false}]}}`, `{"a":1}`, true},
		{"9.3", "missing: below an empty object", `{"a":{"b":[{"exists":false}]}}`, `{"a":{}}`, true},
		{"9.3", "an array at the top", `{"a":["x"]}`, `[{"a":"y"},{"a":"x"}]`, true},
		{"9.3", "an array at the top, across elements", `{"a":["x"],"b":["y"]}`, `[{"a":"x"},{"b":"y"}]`, false},
		{"9.1", "a value at the top is JSON without the key", `{"a":[{"exists":false}]}`, `"text"`, true},
		{"9.1", "a value at the top has no key", `{"a":["x"]}`, `"x"`, false},
		{"9.3", "a dot in an element's key", `{"e":{"a":{"b":[1]},"c":[2]}}`, `{"e":[{"a.b":1,"c":3},{"a.b":1,"c":2}]}`, true},
		{"9.3", "a dot over an array", `{"e":{"a":[1]}}`, `{"e.a":[0,1]}`, true},
		{"9.3", "dots at every step", `{"a.b.c.d":[1]}`, `{"a":{"b.c":{"d":1}}}`, true},
		{"9.3", "empty steps count", `{"a..b":[1]}`, `{"a":{"":{"b":1}}}`, true},
		{"9.3", "empty steps are told apart", `{"a..b":[1]}`, `{"a":{"b":1}}`, false},
		{"9.3", "a dot at the end", `{"a.":[1]}`, `{"a":{"":1}}`, true},
		{"9.3", "one path twice in an event: one of them", `{"a":{"b":["x"]}}`, `{"a.b":"y","a":{"b":"x"}}`, true},
		{"9.3", "one path twice in an event: the other", `{"a":{"b":["x"]}}`, `{"a.b":"x","a":{"b":"y"}}`, true},
	})
}

func TestRefusals(t *testing.T) {
	refusals(t, []refusal{
		{"9.4", `null`, "Filter is not an object"},
		{"9.4", `"text"`, "Filter is not an object"},
		{"9.4", `12`, "Filter is not an object"},
		{"9.4", `true`, "Filter is not an object"},
		{"9.4", `{}`, "Empty objects are not allowed"},
		{"9.4", `{"a":{}}`, "Empty objects are not allowed"},
		{"9.4", `{"a":null}`, `"a" must be an object or an array`},
		{"9.4", `{"a":{"b":true}}`, `"b" must be an object or an array`},
		{"9.4", `{"a":[[1]]}`, "Match value must be String, number, true, false, or null"},
		{"9.4", `{"a":[{}]}`, "Match expression name not found"},
		{"9.4", `{"a":[{"Prefix":"x"}]}`, "Unrecognized match type Prefix"},
		{"9.4", `{"a":[{"equals":"x"}]}`, "Unrecognized match type equals"},
		{"9.4", `{"a":[{"prefix":"x","suffix":"y"}]}`, "Only one key allowed in match expression"},
		{"9.4", `{"a":[{"prefix":"x","prefix":"y"}]}`, "Only one key allowed in match expression"},
		{"9.4", `{"a":[{"suffix":"x","b":1}]}`, "Only one key allowed in match expression"},
		{"9.4", `{"a":[{"exists":true,"b":1}]}`, "Only one key allowed in match expression"},
		{"9.4", `{"a":[{"exactly":"x","b":1}]}`, "Only one key allowed in match expression"},
		{"9.4", `{"a":[{"wildcard":"x","b":1}]}`, "Only one key allowed in match expression"},
		{"9.4", `{"a":[{"cidr":"10.0.0.0/8","b":1}]}`, "Only one key allowed in match expression"},
		{"9.4", `{"a":[{"equals-ignore-case":"x","b":1}]}`, "Only one key allowed in match expression"},
		{"9.4", `{"a":[{"prefix":{"equals-ignore-case":"x","b":1}}]}`, "Only one key allowed in match expression"},
		{"9.4", `{"a":[{"numeric":["=",1],"b":1}]}`, "Too many elements in numeric expression"},
		{"9.4", `{"a":[{"anything-but":"x","b":1}]}`, "Too many elements in numeric expression"},
		{"9.4", `{"a":[{"anything-but":{"prefix":"x","suffix":"y"}}]}`, "Too many elements in numeric expression"},
		{"9.4", `{"a":[{"exactly":1}]}`, "exact match pattern must be a string"},
		{"9.4", `{"a":[{"prefix":null}]}`, "prefix match pattern must be a string"},
		{"9.4", `{"a":[{"prefix":{}}]}`, "Prefix expression name not found"},
		{"9.4", `{"a":[{"suffix":{}}]}`, "Suffix expression name not found"},
		{"9.4", `{"a":[{"prefix":{"suffix":"x"}}]}`, "Unsupported prefix pattern: suffix"},
		{"9.4", `{"a":[{"suffix":{"prefix":"x"}}]}`, "Unsupported suffix pattern: prefix"},
		{"9.4", `{"a":[{"suffix":{"equals-ignore-case":1}}]}`, "equals-ignore-case match pattern must be a string"},
		{"9.4", `{"a":[{"exists":"true"}]}`, "exists match pattern must be either true or false."},
		{"9.4", `{"a":[{"exists":1}]}`, "exists match pattern must be either true or false."},
		{"9.4", `{"a":[{"numeric":5}]}`, "Value of numeric must be an array."},
		{"9.4", `{"a":[{"numeric":">5"}]}`, "Value of numeric must be an array."},
		{"9.4", `{"a":[{"numeric":[]}]}`, "Invalid member in numeric match: ]"},
		{"9.4", `{"a":[{"numeric":[5]}]}`, "Invalid member in numeric match: 5"},
		{"9.4", `{"a":[{"numeric":["=="]}]}`, "Unrecognized numeric range operator: =="},
		{"9.4", `{"a":[{"numeric":["!=",5]}]}`, "Unrecognized numeric range operator: !="},
		{"9.4", `{"a":[{"numeric":["="]}]}`, "Value of equals must be numeric"},
		{"9.4", `{"a":[{"numeric":["=","5"]}]}`, "Value of equals must be numeric"},
		{"9.4", `{"a":[{"numeric":["<",null]}]}`, "Value of < must be numeric"},
		{"9.4", `{"a":[{"numeric":[">=","x"]}]}`, "Value of >= must be numeric"},
		{"9.4", `{"a":[{"numeric":["=",5,"<",6]}]}`, "Too many elements in numeric expression"},
		{"9.4", `{"a":[{"numeric":["<",5,">",0]}]}`, "Too many elements in numeric expression"},
		{"9.4", `{"a":[{"numeric":[">",5,6]}]}`, "Bad value in numeric range: 6"},
		{"9.4", `{"a":[{"numeric":[">",5,"=",6]}]}`, "Bad numeric range operator: ="},
		{"9.4", `{"a":[{"numeric":[">",5,"<","6"]}]}`, "Value of < must be numeric"},
		{"9.4", `{"a":[{"numeric":[">",5,"<=",6,7]}]}`, "Too many terms in numeric range expression"},
		{"9.4", `{"a":[{"numeric":[">",5,"<",4]}]}`, "Bottom must be less than top"},
		{"9.4", `{"a":[{"numeric":[">=",5,"<=",5]}]}`, "Bottom must be less than top"},
		{"9.3", `{"a":[{"numeric":["<",5000000001]}]}`, "Value must be between -5.0E9 and 5.0E9, inclusive"},
		{"9.3", `{"a":[{"numeric":[">",-5e10]}]}`, "Value must be between -5.0E9 and 5.0E9, inclusive"},
		{"9.3", `{"a":[{"anything-but":123456789012}]}`, "Value must be between -5.0E9 and 5.0E9, inclusive"},
		{"9.3", `{"a":[{"numeric":["<",0.1234567]}]}`, "Only values upto 6 decimals are supported: 0.1234567"},
		{"9.4", `{"a":[{"anything-but":true}]}`, "Value of anything-but must be an array or single string/number value."},
		{"9.4", `{"a":[{"anything-but":[]}]}`, "Inside anything but list, either all values are number or string, mixed type is not supported"},
		{"9.4", `{"a":[{"anything-but":["x",1]}]}`, "Inside anything but list, either all values are number or string, mixed type is not supported"},
		{"9.4", `{"a":[{"anything-but":[true]}]}`, "Inside anything but list, start|null|boolean is not supported."},
		{"9.4", `{"a":[{"anything-but":[{"prefix":"x"}]}]}`, "Inside anything but list, start|null|boolean is not supported."},
		{"9.4", `{"a":[{"anything-but":{}}]}`, "Anything-But expression name not found"},
		{"9.4", `{"a":[{"anything-but":{"exists":true}}]}`, "Unsupported anything-but pattern: exists"},
		{"9.4", `{"a":[{"anything-but":{"numeric":["=",1]}}]}`, "Unsupported anything-but pattern: numeric"},
		{"9.4", `{"a":[{"anything-but":{"suffix":["x",""]}}]}`, "Null prefix/suffix not allowed"},
		{"9.4", `{"a":[{"anything-but":{"wildcard":"a**"}}]}`, "Consecutive wildcard characters at pos 2"},
		{"9.3", `{"a":[{"wildcard":"a\\b"}]}`, "Invalid escape character at pos 2"},
		{"9.3", `{"a":[{"wildcard":"a\\"}]}`, "Invalid escape character at pos 2"},
		{"9.3", `{"a":[{"cidr":"10.0.0.0"}]}`, "Malformed CIDR, one '/' required"},
		{"9.3", `{"a":[{"cidr":"10.0.0.0/8/8"}]}`, "Malformed CIDR, one '/' required"},
		{"9.3", `{"a":[{"cidr":"10.0.0.0/-1"}]}`, "Malformed CIDR, mask bits must not be negative"},
		{"9.3", `{"a":[{"cidr":"10.0.0.0/33"}]}`, "IPv4 mask bits must be < 33"},
		{"9.3", `{"a":[{"cidr":"::/129"}]}`, "IPv6 mask bits must be < 129"},
		{"9.3", `{"a":[{"cidr":"300.0.0.0/8"}]}`, "Nonstandard IP address: 300.0.0.0"},
		{"9.2", `{"$or":[{"a":[1]}]}`, "Unrecognized match type a"},
		{"9.2", `{"$or":[]}`, "Empty arrays are not allowed"},
		{"9.2", `{"$or":[{"a":[1]},"x"]}`, "Unrecognized match type a"},
		{"9.2", `{"$or":[{"a":[1]},{}]}`, "Empty objects are not allowed"},
		{"9.2", `{"$or":[{"a":{"prefix":["x"]}},{"b":[1]}]}`, "prefix is Ruler reserved fieldName which cannot be used inside $or."},
		{"9.2", `{"$or":1}`, `"$or" must be an object or an array`},
		{"9.2", `{"$or":[{"a":[1]},{"b":2}]}`, `"b" must be an object or an array`},
		{"9.1", `{"data":["text"]}`, `"data" must be an object: the filter pattern for data must be in a valid JSON format`},
		{"9.1", `{"data":[{"exists":true}]}`, `"data" must be an object: the filter pattern for data must be in a valid JSON format`},
		{"9.4", ``, "Unexpected end of the filter: it is not JSON"},
		{"9.4", `{"a":[1]`, "Unexpected end of the filter: it is not JSON"},
		{"9.4", `{"a":[1]}}`, "Unexpected character ('}'): the filter is not JSON"},
		{"9.4", `{"a":[1,]}`, "Unexpected character (']'): the filter is not JSON"},
		{"9.4", `{"a":[01]}`, "Unexpected character ('0'): the filter is not JSON"},
		{"9.4", `{a:[1]}`, "Unexpected character ('a'): the filter is not JSON"},
		{"9.4", `{"a":[NaN]}`, "Unexpected character ('N'): the filter is not JSON"},
		{"1.2", `{"a":["` + strings.Repeat("é", 4096) + `"]}`, "Filter is longer than 4096 characters: it has 4106"},
	})
}

func TestTheStrictSwitchRefusesWhatAWSDoesInMappings(t *testing.T) {
	for _, p := range []string{
		`{"data":{"a":[{"wildcard":"x*"}]}}`,
		`{"data":{"a":[{"cidr":"10.0.0.0/8"}]}}`,
		`{"data":{"a":[{"anything-but":{"prefix":"x"}}]}}`,
		`{"data":{"a":[{"anything-but":{"suffix":["x"]}}]}}`,
		`{"data":{"a":[{"anything-but":{"equals-ignore-case":"x"}}]}}`,
		`{"data":{"a":["fine",{"anything-but":{"wildcard":"x"}}]}}`,
		`{"data":{"$or":[{"a":[1]},{"b":[{"wildcard":"x*"}]}]}}`,
	} {
		if _, err := Compile([]string{p}, Options{}); err != nil {
			t.Errorf("%s: %v", p, err)
		}
		_, err := Compile([]string{p}, Options{Strict: true})
		if !errors.Is(err, triggers.ErrInvalid) || !strings.Contains(err.Error(), "not supported in event source mappings") {
			t.Errorf("%s, strictly: %v", p, err)
		}
	}
	for _, p := range []string{
		`{"data":{"a":["x",1,null,{"prefix":"x"},{"suffix":"x"},{"equals-ignore-case":"x"},{"numeric":["=",1]},{"exists":true},{"anything-but":["x"]}]}}`,
		`{"data":{"$or":[{"a":[1]},{"b":[{"anything-but":[1]}]}]}}`,
	} {
		if _, err := Compile([]string{p}, Options{Strict: true}); err != nil {
			t.Errorf("%s, strictly: %v", p, err)
		}
	}
}

// Where patterns look, by the kind of the source (9.1).
func TestWhereItLooks(t *testing.T) {
	meta := map[string]string{
		"partitionKey": `"pk-1"`, "eventName": `"INSERT"`, "eventSource": `"aws:dynamodb"`, "messageId": `"m-1"`,
		"attributes": `{"ApproximateReceiveCount":"1"}`, "approximateArrivalTimestamp": `1545084650.987`,
	}
	for _, r := range []struct {
		rule    string
		kind    runtime.Kind
		pattern string
		data    string
		want    bool
	}{
		{"Kinesis: data", runtime.KindKinesis, `{"data":{"a":["x"]}}`, `{"a":"x"}`, true},
		{"Kinesis: data is not under kinesis", runtime.KindKinesis, `{"kinesis":{"data":{"a":["x"]}}}`, `{"a":"x"}`, false},
		{"Kinesis: not JSON and a pattern on data", runtime.KindKinesis, `{"data":{"a":["x"]}}`, `a=x`, false},
		{"Kinesis: not JSON and missing", runtime.KindKinesis, `{"data":{"a":[{"exists":false}]}}`, `a=x`, false},
		{"Kinesis: nothing at all", runtime.KindKinesis, `{"data":{"a":[{"exists":false}]}}`, ``, false},
		{"Kinesis: JSON and more", runtime.KindKinesis, `{"data":{"a":["x"]}}`, `{"a":"x"}{"a":"x"}`, false},
		{"Kinesis: JSON cut off", runtime.KindKinesis, `{"data":{"a":["x"]}}`, `{"a":"x"`, false},
		{"Kinesis: JSON with space around", runtime.KindKinesis, `{"data":{"a":["x"]}}`, " \r\n\t{ \"a\" :\t\"x\" } \n", true},
		{"Kinesis: a fault where nobody looks", runtime.KindKinesis, `{"data":{"a":["x"]}}`, `{"a":"x","b":NaN}`, false},
		{"Kinesis: a fault in an object where nobody looks", runtime.KindKinesis, `{"data":{"a":["x"]}}`, `{"a":"x","b":{"c" 1}}`, false},
		{"Kinesis: a bracket of another kind where nobody looks", runtime.KindKinesis, `{"data":{"a":["x"]}}`, `{"a":"x","b":{"c":[1}]}`, false},
		{"Kinesis: invalid UTF-8", runtime.KindKinesis, `{"data":{"a":["x"]}}`, "{\"a\":\"x\",\"b\":[\"\xff\"]}", false},
		{"Kinesis: a byte order mark", runtime.KindKinesis, `{"data":{"a":["x"]}}`, "\ufeff{\"a\":\"x\"}", false},
		{"Kinesis: metadata", runtime.KindKinesis, `{"partitionKey":["pk-1"]}`, `a=x`, true},
		{"Kinesis: metadata, another", runtime.KindKinesis, `{"partitionKey":["pk-2"]}`, `{}`, false},
		{"Kinesis: metadata that is a number", runtime.KindKinesis, `{"approximateArrivalTimestamp":[{"numeric":[">",1545084650]}]}`, `{}`, true},
		{"Kinesis: metadata and data", runtime.KindKinesis, `{"partitionKey":[{"prefix":"pk"}],"data":{"a":["x"]}}`, `{"a":"x"}`, true},
		{"Kinesis: metadata and data, not JSON", runtime.KindKinesis, `{"partitionKey":[{"prefix":"pk"}],"data":{"a":["x"]}}`, `x`, false},
		{"Kinesis: metadata or data, not JSON", runtime.KindKinesis, `{"$or":[{"partitionKey":["pk-1"]},{"data":{"a":["x"]}}]}`, `{"a":"x",}`, true},
		{"Kinesis: metadata there is not", runtime.KindKinesis, `{"messageNo":[{"exists":false}]}`, `{}`, true},
		{"Kinesis: a dotted data key", runtime.KindKinesis, `{"data.a":["x"]}`, `{"a":"x"}`, true},
		{"Kinesis: data within data", runtime.KindKinesis, `{"data":{"data":["x"]}}`, `{"data":"x"}`, true},
		{"DynamoDB: dynamodb", runtime.KindDynamoDB, `{"dynamodb":{"NewImage":{"id":{"S":["x"]}}}}`, `{"NewImage":{"id":{"S":"x"}}}`, true},
		{"DynamoDB: eventName", runtime.KindDynamoDB, `{"eventName":["INSERT"]}`, `{"NewImage":{}}`, true},
		{"DynamoDB: eventName, another", runtime.KindDynamoDB, `{"eventName":["MODIFY","REMOVE"]}`, `{"NewImage":{}}`, false},
		{"DynamoDB: both", runtime.KindDynamoDB, `{"eventName":["INSERT"],"dynamodb":{"Keys":{"id":{"S":["x"]}}}}`, `{"Keys":{"id":{"S":"x"}}}`, true},
		{"DynamoDB: numeric never takes N", runtime.KindDynamoDB, `{"dynamodb":{"NewImage":{"n":{"N":[{"numeric":[">",1]}]}}}}`, `{"NewImage":{"n":{"N":"5"}}}`, false},
		{"DynamoDB: the time is a number", runtime.KindDynamoDB, `{"dynamodb":{"ApproximateCreationDateTime":[{"numeric":[">",0]}]}}`, `{"ApproximateCreationDateTime":1733418659.0}`, true},
		{"DynamoDB: data is another key", runtime.KindDynamoDB, `{"data":{"a":["x"]}}`, `{"a":"x"}`, false},
		{"SQS: a JSON body", runtime.KindSQS, `{"body":{"a":["x"]}}`, `{"a":"x"}`, true},
		{"SQS: a JSON body, another", runtime.KindSQS, `{"body":{"a":["x"]}}`, `{"a":"y"}`, false},
		{"SQS: an array as body", runtime.KindSQS, `{"body":{"a":["x"]}}`, `[{"a":"x"}]`, true},
		{"SQS: text and a JSON pattern", runtime.KindSQS, `{"body":{"a":["x"]}}`, `plain`, false},
		{"SQS: text and a JSON pattern for missing", runtime.KindSQS, `{"body":{"a":[{"exists":false}]}}`, `plain`, false},
		{"SQS: text and a text pattern", runtime.KindSQS, `{"body":["plain"]}`, `plain`, true},
		{"SQS: text and a text pattern, another", runtime.KindSQS, `{"body":["plain"]}`, `other`, false},
		{"SQS: text and a prefix", runtime.KindSQS, `{"body":[{"prefix":"pl"}]}`, `plain`, true},
		{"SQS: JSON and a text pattern", runtime.KindSQS, `{"body":["{\"a\":\"x\"}"]}`, `{"a":"x"}`, false},
		{"SQS: JSON and any text", runtime.KindSQS, `{"body":[{"anything-but":"y"}]}`, `{"a":"x"}`, false},
		{"SQS: digits are text", runtime.KindSQS, `{"body":["123"]}`, `123`, true},
		{"SQS: broken JSON is text", runtime.KindSQS, `{"body":[{"prefix":"{"}]}`, `{"a":"x"`, true},
		{"SQS: JSON broken where nobody looks is text", runtime.KindSQS, `{"body":{"a":["x"]}}`, `{"a":"x","b":x}`, false},
		{"SQS: text or JSON, broken where nobody looks", runtime.KindSQS, `{"$or":[{"body":{"a":["x"]}},{"body":[{"suffix":"x}"}]}]}`, `{"a":"x","b":x}`, true},
		{"SQS: no body, no check", runtime.KindSQS, `{"messageId":["m-1"]}`, `plain`, true},
		{"SQS: attributes", runtime.KindSQS, `{"attributes":{"ApproximateReceiveCount":["1"]}}`, `plain`, true},
		{"SQS: attributes and body", runtime.KindSQS, `{"attributes":{"ApproximateReceiveCount":["2"]},"body":["plain"]}`, `plain`, false},
	} {
		s, err := Compile([]string{r.pattern}, Options{Kind: r.kind})
		if err != nil {
			t.Errorf("%s: %v", r.rule, err)
			continue
		}
		record := &Record{Data: []byte(r.data), Meta: func(name string) ([]byte, bool) {
			v, ok := meta[name]
			return []byte(v), ok
		}}
		if got := s.Match(record); got != r.want {
			t.Errorf("%s: %s on %s = %t", r.rule, r.pattern, r.data, got)
		}
		if got := s.Explain(record); got[0].Match != r.want {
			t.Errorf("%s: %s on %s explained as %+v", r.rule, r.pattern, r.data, got)
		}
	}
}

func TestPatternsAreOred(t *testing.T) {
	s, err := Compile([]string{`{"data":{"a":["x"]}}`, `{"data":{"b":["y"]}}`, `{"partitionKey":["p"]}`}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if !s.Meta() {
		t.Error("Meta is false, though a pattern looks at it")
	}
	for data, want := range map[string]bool{`{"a":"x"}`: true, `{"b":"y"}`: true, `{"a":"y","b":"x"}`: false, `text`: false} {
		if got := s.Match(&Record{Data: []byte(data)}); got != want {
			t.Errorf("%s: %t", data, got)
		}
	}
	if !s.Match(&Record{Data: []byte("text"), Meta: func(name string) ([]byte, bool) { return []byte(`"p"`), name == "partitionKey" }}) {
		t.Error("text of the right partition key does not match")
	}
	v := s.Explain(&Record{Data: []byte(`{"a":"z"}`)})
	if len(v) != 3 || v[0].Match || len(v[0].Failed) != 1 || v[0].Failed[0] != (Failed{Path: "data.a", Want: `["x"]`, Have: `"z"`}) {
		t.Errorf("explained as %+v", v)
	}
}

func TestNoPatternMatchesEverything(t *testing.T) {
	for _, s := range []*Set{nil, {plan: &plan{}}} {
		if !s.Match(&Record{Data: []byte("anything")}) || s.Meta() || s.Undecided() != 0 {
			t.Error("it does not")
		}
	}
	s, err := Compile(nil, Options{})
	if err != nil || !s.Match(&Record{}) || s.Meta() {
		t.Error("an empty set does not", err)
	}
}

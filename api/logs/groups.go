package logs

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/wasmill/wasmill/api/wire"
	"github.com/wasmill/wasmill/functions/logs"
)

func (s *service) groupOps() []*wire.Operation {
	return []*wire.Operation{
		{Name: "CreateLogGroup", Input: createGroupInput, Do: s.createGroup},
		{Name: "DeleteLogGroup", Input: wire.Structure(must("logGroupName", groupShape)), Do: s.deleteGroup},
		{Name: "DescribeLogGroups", Input: describeGroupsInput, Do: s.describeGroups},
		{Name: "PutRetentionPolicy", Input: wire.Structure(must("logGroupName", groupShape), must("retentionInDays", wire.Integer())), Do: s.putRetention},
		{Name: "DeleteRetentionPolicy", Input: wire.Structure(must("logGroupName", groupShape)), Do: s.deleteRetention},
	}
}

var createGroupInput = wire.Structure(
	must("logGroupName", groupShape),
	may("kmsKeyId", wire.String(0, 256, "")),
	may("tags", tagsShape),
	may("logGroupClass", classShape),
	may("deletionProtectionEnabled", wire.Boolean()),
)

// createGroup remembers key and class, which change nothing here.
func (s *service) createGroup(_ context.Context, c *wire.Call) (any, error) {
	if c.In.Bool("deletionProtectionEnabled") {
		return nil, invalid("Deletion protection of log groups is not supported here: leave deletionProtectionEnabled out.")
	}
	tags := map[string]string{}
	for key := range c.In.Map("tags") {
		tags[key] = c.In.Map("tags").String(key)
	}
	if err := checkTags(tags); err != nil {
		return nil, err
	}
	err := s.Store.CreateGroup(logs.Group{Name: c.In.String("logGroupName"), Tags: tags, KeyID: c.In.String("kmsKeyId"), Class: c.In.String("logGroupClass")})
	if errors.Is(err, logs.ErrExists) {
		return nil, wire.Errorf(codeExists, "The specified log group already exists")
	}
	return nil, fault(err)
}

func (s *service) deleteGroup(_ context.Context, c *wire.Call) (any, error) {
	return nil, fault(s.Store.DeleteGroup(c.In.String("logGroupName")))
}

var describeGroupsInput = wire.Structure(
	may("accountIdentifiers", wire.List(wire.String(12, 12, `^\d{12}$`), 0, 20)),
	may("logGroupNamePrefix", groupShape),
	may("logGroupNamePattern", wire.String(0, 512, `[\.\-_/#A-Za-z0-9]*`)),
	may("nextToken", tokenShape),
	may("limit", pageShape),
	may("includeLinkedAccounts", wire.Boolean()),
	may("logGroupClass", classShape),
	may("logGroupIdentifiers", wire.List(idShape, 1, 50)),
)

// page is the most groups or streams in an answer, and the default.
const page = 50

type groupView struct {
	LogGroupName              string `json:"logGroupName"`
	CreationTime              int64  `json:"creationTime"`
	RetentionInDays           int    `json:"retentionInDays,omitempty"`
	MetricFilterCount         int    `json:"metricFilterCount"`
	ARN                       string `json:"arn"`
	StoredBytes               int64  `json:"storedBytes"`
	KMSKeyID                  string `json:"kmsKeyId,omitempty"`
	LogGroupClass             string `json:"logGroupClass"`
	LogGroupARN               string `json:"logGroupArn"`
	DeletionProtectionEnabled bool   `json:"deletionProtectionEnabled"`
}

func (s *service) describeGroups(_ context.Context, c *wire.Call) (any, error) {
	prefix, pattern := c.In.String("logGroupNamePrefix"), strings.ToLower(c.In.String("logGroupNamePattern"))
	class := c.In.String("logGroupClass")
	var named []string
	for _, id := range c.In.Strings("logGroupIdentifiers") {
		if strings.HasPrefix(id, "arn:") {
			of, err := ofARN(c, id)
			if err != nil {
				return nil, err
			}
			id = of
		}
		named = append(named, id)
	}
	switch {
	case prefix != "" && pattern != "":
		return nil, invalid("LogGroup name prefix and LogGroup name pattern are mutually exclusive parameters.")
	case named != nil && (prefix != "" || pattern != "" || c.In.Has("limit") || c.In.Has("nextToken")):
		return nil, invalid("LogGroup identifiers and prefix, pattern, limit and nextToken are mutually exclusive parameters.")
	}
	var all []groupView
	for _, g := range s.Store.Groups() {
		if !strings.HasPrefix(g.Name, prefix) || !strings.Contains(strings.ToLower(g.Name), pattern) || named != nil && !slices.Contains(named, g.Name) ||
			class != "" && cmp.Or(g.Class, "STANDARD") != class {
			continue
		}
		arn := groupARN(c, g.Name)
		all = append(all, groupView{LogGroupName: g.Name, CreationTime: g.Created.UnixMilli(), RetentionInDays: g.Retention, ARN: arn + ":*", StoredBytes: g.Bytes,
			KMSKeyID: g.KeyID, LogGroupClass: cmp.Or(g.Class, "STANDARD"), LogGroupARN: arn})
	}
	after, err := readName(c)
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(g groupView) bool { return after != "" && g.LogGroupName <= after })
	out := struct {
		LogGroups []groupView `json:"logGroups"`
		NextToken string      `json:"nextToken,omitempty"`
	}{LogGroups: []groupView{}}
	limit := int(cmp.Or(c.In.Int("limit"), page))
	out.LogGroups = append(out.LogGroups, all[:min(limit, len(all))]...)
	if len(all) > limit {
		out.NextToken = nameToken(c, all[limit-1].LogGroupName)
	}
	return out, nil
}

// retentions are the days that AWS allows.
var retentions = []int64{1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653}

func (s *service) putRetention(_ context.Context, c *wire.Call) (any, error) {
	days := c.In.Int("retentionInDays")
	if !slices.Contains(retentions, days) {
		var all []string
		for _, d := range retentions {
			all = append(all, strconv.FormatInt(d, 10))
		}
		return nil, invalid("1 validation error detected: Value '%d' at 'retentionInDays' failed to satisfy constraint: Member must satisfy enum value set: [%s]", days, strings.Join(all, ", "))
	}
	return nil, fault(s.Store.SetRetention(c.In.String("logGroupName"), int(days)))
}

func (s *service) deleteRetention(_ context.Context, c *wire.Call) (any, error) {
	return nil, fault(s.Store.SetRetention(c.In.String("logGroupName"), 0))
}

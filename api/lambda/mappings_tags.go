package lambda

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/wasmill/wasmill/api/wire"
	"github.com/wasmill/wasmill/triggers"
)

// What AWS has no parameter for is set by tags that begin with ownTag, and shown as such.
const (
	ownTag  = "wasmill:"
	tagName = ownTag + "name"
)

// tagSetting is a setting of mappings that is set by a tag.
type tagSetting struct {
	tag, usual string // usual is the value of a mapping without the tag
	want       string
	// set takes a value into c, or says that it is none.
	set  func(c *triggers.Config, value string) bool
	show func(c triggers.Config) string
}

var tagSettings = []tagSetting{
	{ownTag + "retry-backoff", triggers.DefaultBackoff.String(), "a duration from 1ms to " + triggers.MaxBackoff.String(), func(c *triggers.Config, v string) bool {
		d, err := time.ParseDuration(v)
		c.Backoff = d
		return err == nil && d >= time.Millisecond && d <= triggers.MaxBackoff
	}, func(c triggers.Config) string { return c.WithDefaults().Backoff.String() }},
	{ownTag + "on-destination-failure", "retry", "retry or drop", func(c *triggers.Config, v string) bool {
		c.OnDestinationFailure = strings.TrimPrefix(v, "retry")
		return v == "retry" || v == triggers.Drop
	}, func(c triggers.Config) string {
		if c.OnDestinationFailure == "" {
			return "retry"
		}
		return c.OnDestinationFailure
	}},
	flagTag("skip-corrupt", func(c *triggers.Config) *bool { return &c.SkipCorrupt }),
	flagTag("deaggregate", func(c *triggers.Config) *bool { return &c.Deaggregate }),
	flagTag("strict-filters", func(c *triggers.Config) *bool { return &c.StrictFilters }),
}

func flagTag(name string, of func(*triggers.Config) *bool) tagSetting {
	return tagSetting{ownTag + name, "false", "true or false", func(c *triggers.Config, v string) bool {
		*of(c) = v == "true"
		return v == "true" || v == "false"
	}, func(c triggers.Config) string { return strconv.FormatBool(*of(&c)) }}
}

// readTags takes the tags of a new mapping, and what they set into config.
func readTags(config *triggers.Config, in wire.Values) (map[string]string, error) {
	tags := stringsOf(in)
	if name, ok := tags[tagName]; ok {
		if err := triggers.ValidateName(name); err != nil {
			return nil, invalid("Tag %s: %s", tagName, plain(err, triggers.ErrInvalid))
		}
	}
	if err := setTagged(config, tags); err != nil {
		return nil, err
	}
	return tags, checkTags(tags)
}

// setTagged takes what tags set into config.
func setTagged(config *triggers.Config, tags map[string]string) error {
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		if !strings.HasPrefix(key, ownTag) || key == tagName {
			continue
		}
		i := slices.IndexFunc(tagSettings, func(t tagSetting) bool { return t.tag == key })
		if i < 0 {
			return invalid("Tag %s: wasmill has no such setting of mappings: want one of %s.", key, strings.Join(settingTags(), ", "))
		}
		if t := tagSettings[i]; !t.set(config, tags[key]) {
			return invalid("Tag %s: value %q: want %s.", key, tags[key], t.want)
		}
	}
	return nil
}

func settingTags() []string {
	all := []string{tagName}
	for _, t := range tagSettings {
		all = append(all, t.tag)
	}
	return all
}

// retag adds tags to m and removes some, and makes the settings that are among them.
func retag(m *triggers.Mapping, add map[string]string, remove []string) error {
	if name, ok := add[tagName]; ok && name != m.Name || slices.Contains(remove, tagName) {
		return invalid("Tag %s: the name of a mapping cannot be changed. Delete the mapping and create another.", tagName)
	}
	if err := setTagged(&m.Config, add); err != nil {
		return err
	}
	for _, t := range tagSettings {
		if slices.Contains(remove, t.tag) {
			t.set(&m.Config, t.usual)
		}
	}
	maps.Copy(m.Tags, add)
	for _, key := range remove {
		delete(m.Tags, key)
	}
	return checkTags(m.Tags)
}

// shownTags are the tags that m was given, and those that say how it is set otherwise. A tag
// stays as it was written while it says what is so. Mappings that AWS's API did not make
// show their name.
func shownTags(m triggers.Mapping) map[string]string {
	tags := map[string]string{}
	maps.Copy(tags, m.Tags)
	for _, t := range tagSettings {
		is := t.show(m.Config)
		written, ok := tags[t.tag]
		var says triggers.Config
		switch {
		case ok && t.set(&says, written) && t.show(says) == is:
		case is == t.usual:
			delete(tags, t.tag)
		default:
			tags[t.tag] = is
		}
	}
	if m.FunctionARN == "" {
		tags[tagName] = m.Name
	}
	return tags
}

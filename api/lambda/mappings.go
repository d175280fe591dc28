package lambda

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/wasmill/wasmill/api/wire"
	"github.com/wasmill/wasmill/functions"
	"github.com/wasmill/wasmill/stream"
	"github.com/wasmill/wasmill/triggers"
	"github.com/wasmill/wasmill/triggers/poll"
)

//go:generate go test -count=1 -run ^TestMappingsPageIsUpToDate$ . -write

// Mappings is what the service needs of the owner of all triggers; *poll.Manager has it.
type Mappings interface {
	CreateWith(ctx context.Context, name string, c triggers.Config, enabled bool, o poll.CreateOptions) (triggers.Mapping, error)
	Find(ctx context.Context, id string) (triggers.Mapping, error)
	List(ctx context.Context) ([]triggers.Mapping, error)
	Change(ctx context.Context, name string, change func(*triggers.Mapping) error) (triggers.Mapping, error)
	// Remove is ErrNotFound if another mapping than that with the id bears the name by now.
	Remove(ctx context.Context, name, id string) (triggers.Mapping, error)
	LastResult(m triggers.Mapping) string
}

func (s *service) mappingOps() []*wire.Operation {
	const all, one = "/2015-03-31/event-source-mappings", "/2015-03-31/event-source-mappings/{UUID}"
	return []*wire.Operation{
		{Name: "CreateEventSourceMapping", Input: createMappingInput, Do: s.createMapping, Method: http.MethodPost, Path: all, Status: http.StatusAccepted},
		{Name: "GetEventSourceMapping", Input: mappingInput, Do: s.getMapping, Method: http.MethodGet, Path: one},
		{Name: "UpdateEventSourceMapping", Input: updateMappingInput, Do: s.updateMapping, Method: http.MethodPut, Path: one, Status: http.StatusAccepted},
		{Name: "DeleteEventSourceMapping", Input: mappingInput, Do: s.deleteMapping, Method: http.MethodDelete, Path: one, Status: http.StatusAccepted},
		{Name: "ListEventSourceMappings", Input: listMappingsInput, Do: s.listMappings, Method: http.MethodGet, Path: all},
	}
}

// createMapping checks in the order in which AWS was seen to.
func (s *service) createMapping(ctx context.Context, c *wire.Call) (any, error) {
	in := c.In
	if err := noSuccess(in); err != nil {
		return nil, err
	}
	kind, err := recognize(in)
	if err != nil {
		return nil, err
	}
	if err := checkFitting(kind, in); err != nil {
		return nil, err
	}
	var config triggers.Config
	if config.Position, err = position(kind, in); err != nil {
		return nil, err
	}
	if err := checkBatch(kind, in); err != nil {
		return nil, err
	}
	set(&config, in)
	config = config.WithDefaults()
	if err := checkWindows(config); err != nil {
		return nil, err
	}
	tags, err := readTags(&config, in.Map("Tags"))
	if err != nil {
		return nil, err
	}
	if err := checkFilters(config.Filters, config.StrictFilters); err != nil {
		return nil, err
	}
	target, err := s.target(ctx, c)
	if err != nil {
		return nil, err
	}
	config.Function, config.Qualifier = target.Name, target.Qualifier
	desc, err := s.source(ctx, c, kind, &config)
	if err != nil {
		return nil, err
	}
	m, err := s.make(ctx, c, config, desc, poll.CreateOptions{FunctionARN: target.arn(c), Tags: tags})
	if err != nil {
		return nil, err
	}
	state := triggers.Creating
	if !m.Enabled {
		state = triggers.Disabled
	}
	return s.reply(c, m, state), nil
}

func noTarget() *wire.Error { return invalid("Function does not exist") }

// target is the function that a request names, which must be there.
func (s *service) target(ctx context.Context, c *wire.Call) (ref, error) {
	r, err := parseFunction(c, c.In.String("FunctionName"), "")
	if err != nil {
		return r, err
	}
	if _, err := s.Functions.Resolve(ctx, r.Name, r.Qualifier); errors.Is(err, functions.ErrNotFound) || errors.Is(err, functions.ErrInvalid) {
		return r, noTarget()
	} else if err != nil {
		return r, err
	}
	return r, nil
}

// source finds what a new mapping is to read, and enters it into config.
func (s *service) source(ctx context.Context, c *wire.Call, kind source, config *triggers.Config) (stream.Description, error) {
	if kind != kinesis {
		return stream.Description{}, invalid("wasmill has no event source mappings for %s yet: only for Kinesis streams.", named[kind])
	}
	arn := c.In.String("EventSourceArn")
	missing := invalid("Stream not found: %s", arn)
	parts := strings.SplitN(arn, ":", 6)
	name, consumer, fanOut := strings.Cut(strings.TrimPrefix(parts[5], "stream/"), "/consumer/")
	at := stream.Ref{Account: parts[4], Region: parts[3], Name: name}
	if at.Account != c.Account {
		return stream.Description{}, invalid("Cannot access stream %s. It belongs to another account, and no policy is evaluated here.", arn)
	}
	if at.Region != c.Region {
		return stream.Description{}, missing
	}
	desc, err := s.Streams.Describe(ctx, at)
	switch {
	case errors.Is(err, stream.ErrNotFound) || errors.Is(err, stream.ErrInvalid) || err == nil && desc.State == stream.Deleting:
		return desc, missing
	case err != nil:
		return desc, err
	case fanOut && !slices.ContainsFunc(desc.Attributes.Consumers, func(o stream.Consumer) bool { return consumer == fmt.Sprintf("%s:%d", o.Name, o.Created.Unix()) }):
		return desc, missing
	}
	config.Stream = at.Name
	if at != stream.Local(at.Name) {
		config.Stream = at.ARN()
	}
	if fanOut {
		config.Consumer = arn
	}
	return desc, nil
}

// make stores a mapping under a name that nobody else has.
func (s *service) make(ctx context.Context, c *wire.Call, config triggers.Config, desc stream.Description, o poll.CreateOptions) (triggers.Mapping, error) {
	enabled := !c.In.Has("Enabled") || c.In.Bool("Enabled")
	arn := c.In.String("EventSourceArn")
	for range nameTries {
		other, err := s.twin(ctx, triggers.Mapping{StreamID: desc.ID, Config: config})
		if err != nil {
			return other, err
		} else if other.ID != "" {
			return other, exists(arn, other)
		}
		name, err := s.name(ctx, config.Function, desc.Name, o.Tags)
		if err != nil {
			return other, err
		}
		m, err := s.Mappings.CreateWith(ctx, name, config, enabled, o)
		switch {
		case errors.Is(err, triggers.ErrExists) && ctx.Err() == nil:
			continue // somebody was quicker: the next look shows them
		case errors.Is(err, triggers.ErrBusy): // somebody takes the name, or gives it back: the next look tells
			select {
			case <-time.After(nameEvery):
				continue
			case <-ctx.Done():
				err = context.Cause(ctx)
			}
		case errors.Is(err, stream.ErrNotFound):
			err = invalid("Stream not found: %s", arn)
		case errors.Is(err, functions.ErrNotFound):
			err = noTarget()
		case errors.Is(err, triggers.ErrInvalid):
			err = invalid("%s", plain(err, triggers.ErrInvalid))
		}
		return m, err
	}
	return triggers.Mapping{}, mappingInUse("create")
}

// How often a name is tried for that others are taking or giving back, and when again.
const (
	nameTries = 200
	nameEvery = 5 * time.Millisecond
)

// name is what a new mapping is called by the command line: as its tag says, or
// <function>-<stream>, or the same with a number.
func (s *service) name(ctx context.Context, function, stream string, tags map[string]string) (string, error) {
	all, err := s.Mappings.List(ctx)
	if err != nil {
		return "", err
	}
	taken := map[string]bool{}
	for _, m := range all {
		taken[m.Name] = true
	}
	name, wished := tags[tagName]
	switch {
	case !wished:
		return freeName(function, stream, taken), nil
	case taken[name]:
		return "", conflict("A trigger named %s exists already: choose another value for tag %s.", name, tagName)
	}
	return name, nil
}

func freeName(function, stream string, taken map[string]bool) string {
	const most = 64 // triggers.ValidateName
	whole := cmp.Or(strings.TrimLeft(function+"-"+stream, "-_."), "mapping")
	for i := 1; ; i++ {
		suffix := ""
		if i > 1 {
			suffix = fmt.Sprintf("-%d", i)
		}
		if name := whole[:min(len(whole), most-len(suffix))] + suffix; !taken[name] {
			return name
		}
	}
}

// mapping finds one of the caller's, which are those of its streams.
func (s *service) mapping(ctx context.Context, c *wire.Call, id string) (triggers.Mapping, error) {
	m, err := s.Mappings.Find(ctx, id)
	if errors.Is(err, triggers.ErrNotFound) || err == nil && !belongs(c, m) {
		return m, noMapping()
	}
	return m, err
}

func belongs(c *wire.Call, m triggers.Mapping) bool {
	return strings.HasPrefix(m.StreamARN, "arn:aws:kinesis:"+c.Region+":"+c.Account+":")
}

func noMapping() *wire.Error { return notFound("The resource you requested does not exist.") }

func (s *service) getMapping(ctx context.Context, c *wire.Call) (any, error) {
	m, err := s.mapping(ctx, c, c.In.String("UUID"))
	if err != nil {
		return nil, err
	}
	return s.reply(c, m, m.State), nil
}

// updateMapping answers with the state that AWS passes through. When the answer is sent the
// change is made: what starts from then on starts under it, and what is disabled starts
// nothing.
func (s *service) updateMapping(ctx context.Context, c *wire.Call) (any, error) {
	in := c.In
	if err := noSuccess(in); err != nil {
		return nil, err
	}
	m, err := s.settled(ctx, c, "update")
	if err != nil {
		return nil, err
	}
	if err := checkFitting(kinesis, in); err != nil {
		return nil, err
	}
	if err := checkBatch(kinesis, in); err != nil {
		return nil, err
	}
	var target ref
	state := triggers.Updating
	change := func(next *triggers.Mapping) error {
		set(&next.Config, in)
		if target.Name != "" {
			next.Config.Function, next.Config.Qualifier, next.FunctionARN = target.Name, target.Qualifier, target.arn(c)
		}
		if enabled := in.Bool("Enabled"); in.Has("Enabled") && enabled != next.Enabled {
			next.Enabled, state = enabled, triggers.Disabling
			if enabled {
				state = triggers.Enabling
			}
		}
		if err := checkWindows(next.Config.WithDefaults()); err != nil {
			return err
		}
		return checkFilters(next.Config.Filters, next.Config.StrictFilters)
	}
	trial := m // what is wrong with the settings AWS says before it looks for the function
	if err := change(&trial); err != nil {
		return nil, err
	}
	if in.Has("FunctionName") {
		if target, err = s.target(ctx, c); err != nil {
			return nil, err
		}
	}
	if m, err = s.change(ctx, m, "update", change); err != nil {
		return nil, err
	}
	return s.reply(c, m, state), nil
}

// settled is the mapping that c names, which must not be passing from one state to another.
func (s *service) settled(ctx context.Context, c *wire.Call, doing string) (triggers.Mapping, error) {
	m, err := s.mapping(ctx, c, c.In.String("UUID"))
	if err == nil && m.State != triggers.Enabled && m.State != triggers.Disabled {
		err = mappingInUse(doing)
	}
	return m, err
}

func mappingInUse(doing string) *wire.Error {
	return inUse("Cannot %s the event source mapping because it is in use.", doing)
}

// change is Mappings.Change with AWS's errors.
func (s *service) change(ctx context.Context, m triggers.Mapping, doing string, change func(*triggers.Mapping) error) (triggers.Mapping, error) {
	var next triggers.Mapping
	now, err := s.Mappings.Change(ctx, m.Name, func(to *triggers.Mapping) error {
		if to.ID != m.ID {
			return noMapping() // another one bears its name by now
		}
		err := change(to)
		next = *to
		return err
	})
	switch {
	case err == nil:
		return now, nil
	case errors.Is(err, triggers.ErrBusy), errors.Is(err, triggers.ErrNotFound): // or it is being deleted
		return m, mappingInUse(doing)
	case errors.Is(err, functions.ErrNotFound):
		return m, noTarget()
	case errors.Is(err, triggers.ErrInvalid):
		return m, invalid("%s", plain(err, triggers.ErrInvalid))
	case errors.Is(err, triggers.ErrExists):
		if other, err := s.twin(ctx, next); err != nil || other.ID != "" {
			return m, cmp.Or(err, error(exists(sourceARN(m), other)))
		}
		return m, mappingInUse(doing) // the other one has just gone
	}
	return m, err
}

// twin is another mapping of the same source and function, if there is one. Qualifiers make
// functions differ, and a stream's consumers sources.
func (s *service) twin(ctx context.Context, m triggers.Mapping) (triggers.Mapping, error) {
	all, err := s.Mappings.List(ctx)
	if err != nil {
		return m, err
	}
	i := slices.IndexFunc(all, func(o triggers.Mapping) bool {
		return o.ID != m.ID && o.StreamID == m.StreamID && o.Config.Consumer == m.Config.Consumer && o.Config.Function == m.Config.Function && o.Config.Qualifier == m.Config.Qualifier
	})
	if i < 0 {
		return triggers.Mapping{}, nil
	}
	return all[i], nil
}

// exists says that a mapping has the source and the function; the blanks are AWS's.
func exists(source string, m triggers.Mapping) *wire.Error {
	return conflict(`The event source arn (" %s ") and function (" %s ") provided mapping already exists. Please update or delete the existing mapping with UUID %s`, source, m.Config.Function, m.ID)
}

func (s *service) deleteMapping(ctx context.Context, c *wire.Call) (any, error) {
	m, err := s.settled(ctx, c, "delete")
	if err != nil {
		return nil, err
	}
	gone, err := s.Mappings.Remove(ctx, m.Name, m.ID)
	switch {
	case errors.Is(err, triggers.ErrBusy):
		return nil, mappingInUse("delete")
	case errors.Is(err, triggers.ErrNotFound):
		return nil, noMapping()
	case err != nil:
		return nil, err
	}
	return s.reply(c, gone, triggers.Deleting), nil
}

// maxMappings is how many one page shows, whatever MaxItems says.
const maxMappings = 100

func (s *service) listMappings(ctx context.Context, c *wire.Call) (any, error) {
	all, err := s.Mappings.List(ctx)
	if err != nil {
		return nil, err
	}
	arn, named := c.In.String("EventSourceArn"), c.In.Has("FunctionName")
	var target ref
	if named {
		// A function that cannot be is no error here: nothing is listed.
		if target, err = parseFunction(c, c.In.String("FunctionName"), ""); err != nil {
			all = nil
		}
	}
	all = slices.DeleteFunc(all, func(m triggers.Mapping) bool {
		return !belongs(c, m) || arn != "" && sourceARN(m) != arn ||
			named && (m.Config.Function != target.Name || strings.TrimPrefix(m.Config.Qualifier, "$LATEST") != strings.TrimPrefix(target.Qualifier, "$LATEST"))
	})
	slices.SortFunc(all, func(a, b triggers.Mapping) int { return cmp.Compare(a.ID, b.ID) })
	shown, next := page(all, func(m triggers.Mapping) string { return m.ID }, c, maxMappings)
	out := struct {
		NextMarker          string `json:",omitempty"`
		EventSourceMappings []mappingReply
	}{next, make([]mappingReply, 0, len(shown))}
	for _, m := range shown {
		out.EventSourceMappings = append(out.EventSourceMappings, s.reply(c, m, m.State))
	}
	return out, nil
}

// mappingTags are the tags of a mapping: those it was given, and what of its settings is
// set by tags.
func (s *service) mappingTags(ctx context.Context, c *wire.Call, id string) (map[string]string, error) {
	m, err := s.mapping(ctx, c, id)
	if err != nil {
		return nil, err
	}
	return shownTags(m), nil
}

// tagMapping adds and removes tags, and makes the settings that are among them.
func (s *service) tagMapping(ctx context.Context, c *wire.Call, id string, add map[string]string, remove []string) error {
	m, err := s.mapping(ctx, c, id)
	if err != nil {
		return err
	}
	_, err = s.change(ctx, m, "update", func(next *triggers.Mapping) error {
		if err := retag(next, add, remove); err != nil {
			return err
		}
		return checkFilters(next.Config.Filters, next.Config.StrictFilters)
	})
	return err
}

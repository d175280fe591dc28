package kinesis

import (
	"context"
	"slices"
	"time"

	"github.com/wasmill/wasmill/api/wire"
	"github.com/wasmill/wasmill/stream"
)

func (s *service) settingOps() []*wire.Operation {
	return []*wire.Operation{
		{Name: "StartStreamEncryption", Input: encryptionInput, Do: s.startEncryption},
		{Name: "StopStreamEncryption", Input: encryptionInput, Do: s.stopEncryption},
		{Name: "EnableEnhancedMonitoring", Input: monitoringInput, Do: s.enableMonitoring},
		{Name: "DisableEnhancedMonitoring", Input: monitoringInput, Do: s.disableMonitoring},
		{Name: "UpdateStreamMode", Input: updateModeInput, Do: s.updateMode},
		{Name: "UpdateMaxRecordSize", Input: updateRecordSizeInput, Do: s.updateRecordSize},
		{Name: "UpdateStreamWarmThroughput", Input: updateWarmInput, Do: s.updateWarm},
		{Name: "DescribeLimits", Do: s.describeLimits},
		{Name: "DescribeAccountSettings", Do: s.describeAccount},
		{Name: "UpdateAccountSettings", Input: updateAccountInput, Do: s.updateAccount},
	}
}

var encryptionInput = wire.Structure(
	byName,
	must("EncryptionType", encryptionShape),
	must("KeyId", wire.String(1, 2048, "")),
	byARN, byID,
)

// startEncryption is remembered and shown: records are kept as they came.
func (s *service) startEncryption(ctx context.Context, c *wire.Call) (any, error) {
	return nil, s.encrypt(ctx, c, c.In.String("KeyId"))
}

func (s *service) stopEncryption(ctx context.Context, c *wire.Call) (any, error) {
	return nil, s.encrypt(ctx, c, "")
}

func (s *service) encrypt(ctx context.Context, c *wire.Call, key string) error {
	d, err := s.findActive(ctx, c)
	if err != nil {
		return err
	}
	if t := c.In.String("EncryptionType"); t != "KMS" {
		return invalid("Invalid EncryptionType: %s. The only valid value is KMS.", t)
	}
	_, err = s.Streams.SetAttributes(ctx, d.Ref, func(a *stream.Attributes) error { a.KeyID = key; return nil })
	if err != nil {
		return s.fault(ctx, d.Ref, err)
	}
	return nil
}

var monitoringInput = wire.Structure(byName, must("ShardLevelMetrics", metricsShape), byARN, byID)

func (s *service) enableMonitoring(ctx context.Context, c *wire.Call) (any, error) {
	return s.monitor(ctx, c, func(on, named []string) []string { return metrics(append(on, named...)) })
}

func (s *service) disableMonitoring(ctx context.Context, c *wire.Call) (any, error) {
	return s.monitor(ctx, c, func(on, named []string) []string {
		return slices.DeleteFunc(on, func(m string) bool { return slices.Contains(named, m) })
	})
}

// monitor changes the metrics that are on by those that a call names, ALL being
// each of them, and answers what they were and are.
func (s *service) monitor(ctx context.Context, c *wire.Call, change func(on, named []string) []string) (any, error) {
	d, err := s.findActive(ctx, c)
	if err != nil {
		return nil, err
	}
	named := c.In.Strings("ShardLevelMetrics")
	if slices.Contains(named, "ALL") {
		named = metricsShape.Elem.Enum
	}
	var was, is []string
	_, err = s.Streams.SetAttributes(ctx, d.Ref, func(a *stream.Attributes) error {
		was = metrics(a.Metrics)
		is = change(metrics(a.Metrics), named)
		a.Metrics = is
		return nil
	})
	if err != nil {
		return nil, s.fault(ctx, d.Ref, err)
	}
	return struct {
		StreamName                                         string
		CurrentShardLevelMetrics, DesiredShardLevelMetrics []string
		StreamARN                                          string
	}{d.Name, was, is, d.ARN()}, nil
}

// metrics is a sorted list of its own with each name once, never nil, ALL left out.
func metrics(list []string) []string {
	list = append(make([]string, 0, len(list)), list...)
	slices.Sort(list)
	return slices.DeleteFunc(slices.Compact(list), func(m string) bool { return m == "ALL" })
}

var updateModeInput = wire.Structure(
	must("StreamARN", streamARNShape),
	byID,
	must("StreamModeDetails", modeShape),
	may("WarmThroughputMiBps", wire.Integer(0)),
)

// modesADay is how often AWS lets the mode of a stream be changed.
const modesADay = 2

func (s *service) updateMode(ctx context.Context, c *wire.Call) (any, error) {
	d, err := s.findActive(ctx, c)
	if err != nil {
		return nil, err
	}
	mode := stream.Mode(c.In.Map("StreamModeDetails").String("StreamMode"))
	warm := c.In.Int("WarmThroughputMiBps")
	if c.In.Has("WarmThroughputMiBps") {
		if err := s.allowWarm(ctx, c, d.Ref, mode, warm); err != nil {
			return nil, err
		}
	}
	if mode != d.Mode {
		if !s.Limits.daily("UpdateStreamMode", d.ID, modesADay) {
			return nil, wire.Errorf(codeLimit, "Rate exceeded for stream %s under account %s: UpdateStreamMode can be called %d times per rolling 24-hour period per stream.", d.Name, d.Account, modesADay)
		}
		if _, err := s.Streams.Update(ctx, d.Ref, func(c *stream.Config) { c.Mode = mode }); err != nil {
			return nil, s.fault(ctx, d.Ref, err)
		}
	}
	// Without the member an on-demand stream keeps what it has, and others have none.
	if !c.In.Has("WarmThroughputMiBps") && mode == stream.OnDemand {
		return nil, nil
	}
	return nil, s.setWarm(ctx, d, warm)
}

var updateRecordSizeInput = wire.Structure(
	byARN, byID,
	must("MaxRecordSizeInKiB", wire.Integer(1024, 10240)),
)

func (s *service) updateRecordSize(ctx context.Context, c *wire.Call) (any, error) {
	d, err := s.findActive(ctx, c)
	if err != nil {
		return nil, err
	}
	_, err = s.Streams.Update(ctx, d.Ref, func(config *stream.Config) { config.RecordBytes = int(c.In.Int("MaxRecordSizeInKiB")) << 10 })
	if err != nil {
		return nil, s.fault(ctx, d.Ref, err)
	}
	return nil, nil
}

var updateWarmInput = wire.Structure(
	byARN, byName, byID,
	must("WarmThroughputMiBps", wire.Integer(0)),
)

// maxWarmMiBps is the most warm throughput of a stream: 10 GiB/s.
const maxWarmMiBps = 10 << 10

func (s *service) updateWarm(ctx context.Context, c *wire.Call) (any, error) {
	d, err := s.findActive(ctx, c)
	if err != nil {
		return nil, err
	}
	warm := c.In.Int("WarmThroughputMiBps")
	if err := s.allowWarm(ctx, c, d.Ref, d.Mode, warm); err != nil {
		return nil, err
	}
	if err := s.setWarm(ctx, d, warm); err != nil {
		return nil, err
	}
	return struct {
		StreamARN, StreamName string
		WarmThroughput        warmThroughput
	}{d.ARN(), d.Name, warmThroughput{int(warm), d.Attributes.WarmMiBps}}, nil
}

// allowWarm says whether a stream in that mode may be given warm throughput: on
// demand, and in accounts that committed themselves to a minimum.
func (s *service) allowWarm(ctx context.Context, c *wire.Call, ref stream.Ref, mode stream.Mode, warm int64) error {
	settings, err := s.account(ctx, c)
	switch {
	case err != nil:
		return err
	case mode != stream.OnDemand:
		return wire.Errorf(codeValidation, "Request is invalid. Stream %s under account %s is in Provisioned mode.", ref.Name, ref.Account)
	case !settings.Commitment:
		return wire.Errorf(codeValidation, "Request is invalid. Account %s must have MinimumThroughputBillingCommitment enabled to use warm throughput.", ref.Account)
	case warm > maxWarmMiBps:
		return wire.Errorf(codeLimit, "Warm throughput of %d MiBps for stream %s under account %s exceeds the limit of %d MiBps.", warm, ref.Name, ref.Account, maxWarmMiBps)
	}
	return nil
}

// setWarm remembers the throughput that a stream is to be ready for, and gives it
// the shards for that.
func (s *service) setWarm(ctx context.Context, d stream.Description, warm int64) error {
	if int64(d.Attributes.WarmMiBps) != warm {
		_, err := s.Streams.SetAttributes(ctx, d.Ref, func(a *stream.Attributes) error { a.WarmMiBps = int(warm); return nil })
		if err != nil {
			return s.fault(ctx, d.Ref, err)
		}
	}
	if want := warmShards(warm); int(want) > len(openShards(d)) {
		if _, err := s.Streams.Scale(ctx, d.Ref, int(want)); err != nil {
			return s.fault(ctx, d.Ref, err)
		}
	}
	return nil
}

// warmShards is how many shards take that many MiB in a second, one each.
func warmShards(mibps int64) int64 { return min(mibps, stream.MaxShards) }

func (s *service) describeLimits(ctx context.Context, c *wire.Call) (any, error) {
	shards, onDemand, err := s.usage(ctx, c)
	if err != nil {
		return nil, err
	}
	return struct {
		ShardLimit, OpenShardCount, OnDemandStreamCount, OnDemandStreamCountLimit int64
	}{accountShards, shards, onDemand, accountStreams}, nil
}

type commitment struct {
	Status               string
	StartedAt            wire.Time `json:",omitzero"`
	EndedAt              wire.Time `json:",omitzero"`
	EarliestAllowedEndAt wire.Time `json:",omitzero"`
}

// minCommitment is how long a commitment lasts at least.
const minCommitment = 24 * time.Hour

type accountSettings struct{ MinimumThroughputBillingCommitment commitment }

func settingsOf(a stream.AccountSettings) accountSettings {
	status := "DISABLED"
	switch {
	case a.Commitment && a.Ended.IsZero():
		status = "ENABLED"
	case a.Commitment:
		status = "ENABLED_UNTIL_EARLIEST_ALLOWED_END"
	}
	return accountSettings{commitment{status, wire.Time(a.Started), wire.Time(a.Ended), wire.Time(a.EarliestEnd)}}
}

func (s *service) describeAccount(ctx context.Context, c *wire.Call) (any, error) {
	a, err := s.account(ctx, c)
	if err != nil {
		return nil, err
	}
	return settingsOf(a), nil
}

// account is what holds now for the account of a call.
func (s *service) account(ctx context.Context, c *wire.Call) (stream.AccountSettings, error) {
	a, err := s.Streams.Account(ctx, c.Account, c.Region)
	if err != nil {
		return a, s.fault(ctx, stream.Ref{}, err)
	}
	return current(a, time.Now()), nil
}

// current is what holds of a at now: a commitment that was to end has ended.
func current(a stream.AccountSettings, now time.Time) stream.AccountSettings {
	if !a.Ended.IsZero() && !now.Before(a.Ended) {
		a.Commitment = false
	}
	return a
}

var updateAccountInput = wire.Structure(
	must("MinimumThroughputBillingCommitment", wire.Structure(must("Status", wire.Enum("ENABLED", "DISABLED")))),
)

// updateAccount begins a commitment, or ends it: as soon as it may end.
func (s *service) updateAccount(ctx context.Context, c *wire.Call) (any, error) {
	enable := c.In.Map("MinimumThroughputBillingCommitment").String("Status") == "ENABLED"
	now := time.Now().UTC().Truncate(time.Second)
	a, err := s.Streams.SetAccount(ctx, c.Account, c.Region, func(a *stream.AccountSettings) error {
		*a = current(*a, now)
		switch {
		case enable && !a.Commitment:
			*a = stream.AccountSettings{Commitment: true, Started: now, EarliestEnd: now.Add(minCommitment)}
		case enable:
			a.Ended = time.Time{}
		case a.Commitment && a.Ended.IsZero():
			a.Ended = now
			if a.EarliestEnd.After(now) {
				a.Ended = a.EarliestEnd
			}
			*a = current(*a, now)
		}
		return nil
	})
	if err != nil {
		return nil, s.fault(ctx, stream.Ref{}, err)
	}
	return settingsOf(current(a, time.Now())), nil
}

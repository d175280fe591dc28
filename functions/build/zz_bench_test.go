package build
import ("testing";"os";"strconv";"context";"time";"sync";"strings";"github.com/wasmill/wasmill/functions";"github.com/wasmill/wasmill/runtime")
var once sync.Once
var SZ = func() int { n,_ := strconv.Atoi(os.Getenv("SZ")); return n }()
func BenchmarkBatch(b *testing.B) {
 for _, gogc := range []string{"100","400","off"} { b.Run(gogc, func(b *testing.B){
  t := &testing.T{}
  eng := engine(t)
  ctx := context.Background()
  p, info, err := eng.Load(ctx, guests.code, nil); if err!=nil{b.Fatal(err)}
  e, err := p.New(ctx, functions.Version{Function:"fn",Version:"1",Code:info,Config:functions.Config{Memory:128,Timeout:time.Minute,Environment:map[string]string{"CASE":"kinesis-error","GOGC":gogc}}}, &lines{})
  if err!=nil{b.Fatal(err)}
  d := make([]string,100); for i:=range d { d[i]=strings.Repeat("x",SZ)}
  inv := &runtime.Invocation{ID:"11111111-2222-3333-4444-555555555555",Batch:batch(d...)}
  var mm int64
  for i := 0; i<b.N; i++ { c,cancel:=context.WithTimeout(ctx,time.Minute); r:=e.Invoke(c, inv); cancel(); if r.Outcome!=runtime.Done { b.Fatal(r.ErrorMessage)}; mm=r.MaxMemory }
  b.ReportMetric(float64(mm)/1e6,"MB")
 })}
}

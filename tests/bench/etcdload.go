// etcd over gRPC by its own Go client: the same closed loops as tests/bench/load.c, so that the figures can stand beside each
// other.  Clients share connections as etcd's own benchmark tool does (at most 100); watches have one connection each.
package main

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand"
	"os"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/clientv3"
)

func die(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "etcdload:", err)
		os.Exit(1)
	}
}

func connect(address string) *clientv3.Client {
	c, err := clientv3.New(clientv3.Config{Endpoints: strings.Split(address, ","), DialTimeout: 5 * time.Second})
	die(err)
	return c
}

func at(us []int64, share float64) int64 {
	if len(us) == 0 {
		return 0
	}
	i := int(float64(len(us)) * share)
	if i >= len(us) {
		i = len(us) - 1
	}
	return us[i]
}

func report(all []int64, what string, more map[string]interface{}, seconds float64) {
	sort.Slice(all, func(i, j int) bool { return all[i] < all[j] })
	more[what] = len(all)
	more["rate"] = float64(len(all)) / seconds
	more["p50_us"] = at(all, 0.5)
	more["p99_us"] = at(all, 0.99)
	die(json.NewEncoder(os.Stdout).Encode(more))
}

func rate(op, address, prefix string, clients, conns, keys, size int, seconds, warm float64) {
	if conns == 0 {
		conns = clients
		if conns > 100 {
			conns = 100
		}
	}
	cs := make([]*clientv3.Client, conns)
	for i := range cs {
		cs[i] = connect(address)
		_, err := cs[i].Get(context.Background(), "x", clientv3.WithSerializable())
		die(err)
	}
	value := make([]byte, size)
	rand.Read(value)
	begin := time.Now().Add(time.Duration(warm * 1e9))
	end := begin.Add(time.Duration(seconds * 1e9))
	out := make([][]int64, clients)
	var errors int64
	var wg sync.WaitGroup
	for i := 0; i < clients; i++ {
		wg.Add(1)
		go func(i int) {
			defer wg.Done()
			r := rand.New(rand.NewSource(int64(i)))
			c := cs[i%conns]
			for {
				key := fmt.Sprintf("%s%016x", prefix, uint64(r.Intn(keys))*0x9e3779b97f4a7c15)
				start := time.Now()
				var err error
				if op == "put" {
					_, err = c.Put(context.Background(), key, string(value))
				} else {
					_, err = c.Get(context.Background(), key)
				}
				now := time.Now()
				if now.After(end) {
					return
				}
				if err != nil {
					atomic.AddInt64(&errors, 1)
				} else if now.After(begin) {
					out[i] = append(out[i], now.Sub(start).Microseconds())
				}
			}
		}(i)
	}
	wg.Wait()
	var all []int64
	for _, o := range out {
		all = append(all, o...)
	}
	report(all, "ops", map[string]interface{}{"errors": errors}, seconds)
}

func watch(address, prefix string, watchers, size int, seconds, warm float64) {
	key := prefix + "watched"
	zero := time.Now()
	out := make([][]int64, watchers)
	var beginNs, endNs int64 = 1 << 62, 1 << 62
	var ready, wg sync.WaitGroup
	for i := 0; i < watchers; i++ {
		ready.Add(1)
		wg.Add(1)
		go func(i int) {
			defer wg.Done()
			c := connect(address)
			first := true
			for resp := range c.Watch(context.Background(), key, clientv3.WithCreatedNotify()) {
				if first {
					ready.Done()
					first = false
				}
				now := time.Since(zero).Nanoseconds()
				if now >= atomic.LoadInt64(&endNs) {
					return
				}
				for _, ev := range resp.Events {
					sent := int64(binary.LittleEndian.Uint64(ev.Kv.Value))
					if sent >= atomic.LoadInt64(&beginNs) {
						out[i] = append(out[i], (now-sent)/1000)
					}
				}
			}
		}(i)
	}
	ready.Wait()
	c := connect(address)
	begin := time.Since(zero) + time.Duration(warm*1e9)
	end := begin + time.Duration(seconds*1e9)
	atomic.StoreInt64(&beginNs, begin.Nanoseconds())
	atomic.StoreInt64(&endNs, end.Nanoseconds())
	value := make([]byte, size)
	puts := 0
	for time.Since(zero) < end {
		binary.LittleEndian.PutUint64(value, uint64(time.Since(zero).Nanoseconds()))
		_, err := c.Put(context.Background(), key, string(value))
		die(err)
		if time.Since(zero) >= begin {
			puts++
		}
	}
	_, err := c.Put(context.Background(), key, string(make([]byte, size))) // wakes those that wait still
	die(err)
	wg.Wait()
	var all []int64
	for _, o := range out {
		all = append(all, o...)
	}
	report(all, "events", map[string]interface{}{"puts": float64(puts) / seconds}, seconds)
}

func main() {
	op := os.Args[1]
	f := flag.NewFlagSet("etcdload", flag.ExitOnError)
	address := f.String("address", "", "HOST:PORT")
	clients := f.Int("clients", 1, "")
	conns := f.Int("conns", 0, "connections that they share; 0: one each, at most 100")
	keys := f.Int("keys", 100000, "")
	size := f.Int("value", 256, "bytes")
	seconds := f.Float64("seconds", 3, "")
	warm := f.Float64("warm", 0.5, "")
	prefix := f.String("prefix", "bench/", "")
	die(f.Parse(os.Args[2:]))
	if op == "watch" {
		watch(*address, *prefix, *clients, *size, *seconds, *warm)
	} else {
		rate(op, *address, *prefix, *clients, *conns, *keys, *size, *seconds, *warm)
	}
}

"""Secrets in the surroundings in which programs print them, and look-alikes that must stay.

A secret is written `«so»`, or `<kind>` for a token of that kind; what stands around it must stay.
Tokens are made here from two halves, so that no scanner takes this file for a leak; none was ever
valid. AWS's sentences are those of its troubleshooting pages and of the events in `events/`.
"""
# Lines as long as programs write them, with AWS's curly apostrophe and a prompt's trailing space:
# ruff: noqa: E501, RUF001, W291

import re
from dataclasses import dataclass
from itertools import product

from notifier.redaction import redacted

WINDOW = 6  # so many characters of a secret in a row, where nothing else has them, are a leak
_PART = re.compile(r"«([^»]*)»")


@dataclass(frozen=True, slots=True)
class Secret:
    """A text; `hidden` must not be told, `kept` (before, between and after) must stay."""

    text: str
    hidden: tuple[str, ...]
    kept: tuple[str, ...]


_HEX = "9f86d081884c7d659a2feaa0c55ad015"
_RANDOM = "q7Rk2vTz9LmXw4Pb8NcYd3Hs6Jf"
_HEADER = "eyJhbGciOiJIUzI1" + "NiIsInR5cCI6IkpXVCJ9"
_PEM_BODY = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj"
_PEM_BODY_2 = "MzEfYyjiWA4R4/M2bS1GB4t7NXp98C3SC6dVMvDuictGeurT8jNbvJZHtCSuYEvu"
_BEGIN = "-----BEGIN RSA PRIV" + "ATE KEY-----"
_END = "-----END RSA PRIV" + "ATE KEY-----"

TOKENS = {
    "aws": "AKIA" + "IOSFODNN7EXAMPLE",
    "aws-temporary": "ASIA" + "Y34FZKBOKMUTVV7A",
    "slack-bot": "xox" + "b-17653672481-19874698323-pdFZKVeTuE8sk7oOcHrzqqgy",
    "slack-user": "xox" + "p-23984754863-2348975623103-a1B2c3D4e5F6",
    "slack-app": "xap" + "p-1-A0123456789-1234567890123-" + _HEX,
    "slack-config": "xoxe.xox" + "p-1-Mi0yLTQ1NjQ1NjQ1NjQ1Ng",
    "slack-refresh": "xox" + "e-1-My0xLTQ1NjQ1NjQ1NjQ1Ng",
    "github": "gh" + "p_" + _RANDOM + "16C7e42F",
    "github-app": "gh" + "s_12345_" + _HEADER + ".eyJpc3MiOiJnaCJ9.c2ln-bmF0" + _RANDOM,
    "github-oauth": "gh" + "o_" + _RANDOM + "A1b2C3d4E",
    "github-fine": "github" + "_pat_11ABCDEFG0a1B2c3D4_" + _RANDOM + _RANDOM,
    "gitlab": "glp" + "at-" + _RANDOM[:20],
    "gitlab-routable": "glp" + "at-" + _RANDOM + ".01.0z1a2b3c4",
    "gitlab-runner": "glr" + "t-t1_" + _RANDOM[:20],
    "npm": "np" + "m_" + _RANDOM + "K1m2N3p4Q",
    "pypi": "pypi-" + "AgEIcHlwaS5vcmcCJ" + _RANDOM,
    "stripe": "sk_" + "live_51H" + _RANDOM,
    "stripe-restricted": "rk_" + "live_51H" + _RANDOM,
    "stripe-webhook": "whs" + "ec_" + _RANDOM,
    "google": "AIz" + "aSyDaGmWKa4JsXZ-HjGw7ISLn_3namBGewQ",
    "vault": "hv" + "s.CAESI" + _RANDOM,
    "jwt": _HEADER + ".eyJzdWIiOiIxMjM0NTY3ODkwIn0.SflKxwRJSMeKKF2QT4fwpMeJf36POk6yJV_adQssw5c",
    "jwe": _HEADER + ".OKOawDo13gRp2ojaHV7L.48V1_ALb6US04U3b.5eym8TW_c8SuK0lt.XFBoMYUZodetZd",
}

# A token by itself, in the words of many programs.
_AROUND_TOKENS = (
    "%s",
    "2026-11-23T12:04:11.482Z ERROR login failed, sent %s to auth.internal",
    'goroutine 1 [running]: main.connect({0xc0000b2000, "%s"})',
    "java.lang.IllegalStateException: rejected: %s\n\tat com.acme.Auth.login(Auth.java:42)",
    '{"level":"error","msg":"cannot use %s for checkout","service":"checkout"}',
    '{"log":"sent \\"%s\\" upstream\\n","stream":"stderr"}',
    "fatal: unable to access 'https://git.acme.example/shop.git' with %s.",
    "\x1b[31m%s\x1b[0m was refused",
    "GET /v1/items?page=2&x=%s&y=1 HTTP/1.1",
)

# Whole lines. Each stands for a way in which programs show a secret.
_LINES = r"""
password=«hunter2»
DB_PASSWORD=«hunter2»
DB_PASSWORD = «hunter2»
DB_PASSWORD: «hunter2»
export DB_PASSWORD='«hunter 2»'
export PGPASSWORD="«hunter2»"
MYSQL_ROOT_PASSWORD=«p@ss,w;rd&1!»
MYSQL_PWD=«hunter2» mysql -h db -u app shop
SMTP_PASS=«hunter2»
REDIS_PASSWORD=«9(kd}Kw]2»
API_KEY=«q7Rk2vTz9LmX»
ACME_APIKEY=«q7Rk2vTz9LmX»
x-api-key: «q7Rk2vTz9LmX»
"x-api-key": "«q7Rk2vTz9LmX»",
aws_secret_access_key = «wJalrXUtnFEMI/K7MDENG/bPxRfiCYzzzzzzzzzz»
AWS_SECRET_ACCESS_KEY=«wJalrXUtnFEMI/K7MDENG/bPxRfiCYzzzzzzzzzz»
AWS_SESSION_TOKEN=«IQoJb3JpZ2luX2VjEHsaCXVzLWVhc3QtMSJHMEUC==»
"SecretAccessKey": "«wJalrXUtnFEMI/K7MDENG/bPxRfiCYzzzzzzzzzz»",
"SessionToken" : "«IQoJb3JpZ2luX2VjEHsaCXVzLWVhc3QtMSJHMEUC»"
{"AccessKeyId":"<aws-temporary>","SecretAccessKey":"«wJalrXUtnFEMI/K7MDENG»","Token":"«IQoJb3JpZ2»"}
DJANGO_SECRET_KEY='«django-insecure-4t!x(0v*&»'
SECRET_KEY_BASE=«9f86d081884c7d659a2feaa0c55ad015»
APP_KEY=«base64:q7Rk2vTz9LmXw4Pb8NcYd3Hs6Jf=»
DD_API_KEY=«9f86d081884c7d659a2feaa0c55ad015»
NEW_RELIC_LICENSE_KEY=«9f86d081884c7d659a2feaa0c55ad015NRAL»
JWT_SIGNING_KEY=«q7Rk2vTz9LmX»
ENCRYPTION_KEY: «q7Rk2vTz9LmX»
RAILS_MASTER_KEY=«9f86d081884c7d659a2feaa0c55ad015»
client_secret=«q7Rk2vTz9LmX»
clientSecret: '«q7Rk2vTz9LmX»',
OAUTH_CLIENT_SECRET=«q7Rk2vTz9LmX»
refresh_token=«1//0gq7Rk2vTz9LmX»
{"access_token":"«ya29.a0Aq7Rk2vTz9LmX»","expires_in":3599,"token_type":"Bearer"}
{"username":"app","password":"«hunter2»","engine":"postgres","host":"db.internal","port":5432}
{"user": "app", "password": "«hun\"ter\\2»", "host": "db"}
{"log":"{\"user\":\"app\",\"password\":\"«hunter2»\"}\n","stream":"stdout"}
{"log":"{\"password\":\"«hun\\\"ter2»\",\"user\":\"app\"}"}
"{\\\"password\\\":\\\"«hunter2»\\\",\\\"user\\\":\\\"app\\\"}"
{'user': 'app', 'password': '«hunter2»', 'timeout': 5}
{:user=>"app", :password=>"«hunter2»"}
array('user' => 'app', 'password' => '«hunter2»')
Config(user='app', password='«hunter2»', pool_size=5)
DatabaseSettings[user=app, password=«hunter2», poolSize=5]
User{name=app, password=«hunter2», roles=[admin]}
&{User:app Password:«hunter2» Host:db.internal Port:5432}
(password=«hunter2»)
config["password"] = "«hunter2»"
spring.datasource.password=«hunter2»
java -Dspring.datasource.password=«hunter2» -jar app.jar
java -Djavax.net.ssl.keyStorePassword=«changeit9» -jar app.jar
time="2026-11-23T12:04:11Z" level=error msg="connect" user=app password=«hunter2» attempt=3
INFO  [main] c.a.Shop : Connecting with password '«hunter2»'
INFO  c.a.Shop - password := «hunter2»
mysqldump --user=app --password=«hunter2» --host=db shop
/app/migrate --password «hunter2» --verbose
/app/migrate -password «hunter2» -verbose
Error: Command failed: vault login --token "«q7Rk2vTz9LmX»" --no-print
["/app/migrate", "--password", "«hunter2»", "--verbose"]
["/app/migrate","--db-password","«hunter2»"]
redis-server --requirepass «hunter2» --port 6379
using password: «hunter2»
Generated root password: «hunter2»
generated password is now set. password:«hunter2»
connection string: «Endpoint=sb://x/»;SharedAccessKeyName=Root;SharedAccessKey=«q7Rk2vTz9LmX=» refused
AzureWebJobsStorage: DefaultEndpointsProtocol=https;AccountName=shop;AccountKey=«q7Rk2vTz9LmX==»;x=1
Server=tcp:db,1433;Initial Catalog=shop;User ID=app;Password=«hunter2»;Encrypt=True
Server=db;Database=shop;Uid=app;Pwd=«hunter2»;
host=db.internal port=5432 user=app password=«hunter2» dbname=shop sslmode=disable
cannot parse `host=db user=app password=«hunter2»`: failed to configure TLS
jdbc:mysql://db:3306/shop?user=app&password=«hunter2»&useSSL=false
jdbc:oracle:thin:«app/hunter2»@//db:1521/shop
postgres://«app:hunter2»@db.internal:5432/shop
postgresql+psycopg2://«app:hunter2»@db/shop?sslmode=require
DATABASE_URL=postgres://«app:hunter2»@db.internal:5432/shop
(psycopg2.OperationalError) could not connect to "postgresql://«app:hunter2»@db/shop"
mysql://«app:p@ss/w0rd#1»@db:3306/shop
redis://«:hunter2»@cache.internal:6379/0
rediss://«default:hunter2»@cache.internal:6380
amqp://«app:hunter2»@mq.internal:5672/%2F
amqps://«app:hunter2»@mq-1,amqps://«app:hunter3»@mq-2
mongodb+srv://«app:hunter2»@cluster0.abcde.mongodb.net/shop?retryWrites=true
MongoServerError: bad auth, mongodb://«app:hunter2»@a.internal,b.internal:27017/shop
https://«deploy:hunter2»@registry.acme.example/v2/
fatal: unable to access 'https://«x-access-token:q7Rk2vTz9LmX»@github.com/acme/shop.git/': 403
pip: https://«__token__:q7Rk2vTz9LmX»@pypi.acme.example/simple
ftp://«app:hunter2»@files.internal/in
smtp://«app:hunter2»@mail.internal:587
proxy http://«corp:hunter2»@proxy.internal:3128 refused the connection
{"url":"amqp://«app:hunter2»@mq/","status":"refused"}
dial «app:hunter2»@tcp(db.internal:3306)/shop?parseTime=true: i/o timeout
dsn="«app:p@ss/w:rd»@tcp(db:3306)/shop"
connecting to «app:hunter2»@db.internal:5432/shop
postgres://«app:hunter2»
could not translate host name in mysql://«app:hunt»
https://s3.eu-west-1.amazonaws.com/b/k?X-Amz-Date=20261123T120411Z&X-Amz-Signature=«9f86d081884c7d65»
https://b.s3.amazonaws.com/k?X-Amz-Security-Token=«IQoJb3JpZ2»&X-Amz-Signature=«9f86d0818»&x-id=GetObject
https://b.s3.amazonaws.com/k?X-Amz-Credential=«AKIAIOSFODNN7EXAMPLE%2F20261123%2Feu-west-1»&X-Amz-Expires=900
https://b.s3.amazonaws.com/k?X-Amz-Expires=900\u0026X-Amz-Signature=«9f86d081884c7d65»"}
https://shop.blob.core.windows.net/c/f?sv=2025-01-05&se=2026-11-24&sig=«q7Rk2vTz9LmX%2Bw4Pb%3D»
https://storage.googleapis.com/b/k?X-Goog-Expires=900&X-Goog-Signature=«9f86d081884c7d65»
https://d111.cloudfront.net/v.mp4?Expires=1790000000&Signature=«q7Rk2vTz9LmX~w4Pb»&Key-Pair-Id=K2JCJMDEHXQW5F
https://api.acme.example/v1/items?api_key=«q7Rk2vTz9LmX»&page=2 returned 500
GET /callback?access_token=«q7Rk2vTz9LmX»&state=1 HTTP/1.1" 302
POST body user%3Dapp%26password%3D«hunter2»%26remember%3D1
https://hooks.slack.com/services/«T00000000/B00000000/q7Rk2vTz9LmXw4Pb8NcYd3Hs»
POST https://hooks.slack.com/services/«T00000000/B00000000/q7Rk2vTz9LmX» returned 404 no_service
"webhook":"https:\/\/hooks.slack.com\/services\/«T00000000\/B00000000\/q7Rk2vTz9LmX»"
curl -X POST https://hooks.slack-gov.com/workflows/«T00000000/A0000/4567/q7Rk2vTz9LmX»
Authorization: Bearer «q7Rk2vTz9LmX»
authorization: bearer «q7Rk2vTz9LmX», status: 401
> Authorization: Basic «YXBwOmh1bnRlcjI=»
"Authorization": "Bearer «q7Rk2vTz9LmX»",
headers: { Authorization: 'Bearer «q7Rk2vTz9LmX»', accept: '*/*' }
{\"Authorization\":[\"Bearer «q7Rk2vTz9LmX»\"],\"Accept\":[\"*/*\"]}
Proxy-Authorization: Basic «Y29ycDpodW50ZXIy»
Authorization: Token «9f86d081884c7d659a2feaa0c55ad015»
Authorization: «AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20261123/eu-west-1/s3/aws4_request»
Authorization=«q7Rk2vTz9LmX»
request failed with header Bearer «q7Rk2vTz9LmXw4Pb8NcYd3Hs6Jf»: 401
registry answered 401 to Basic «YXBwOmh1bnRlcjI=» for repository shop
Cookie: «session=q7Rk2vTz9LmX; a=q7Rk2vTz»
Set-Cookie: «sid=q7Rk2vTz9LmX; Path=/»; HttpOnly
X-Vault-Token: «q7Rk2vTz9LmX»
PRIVATE-TOKEN: «q7Rk2vTz9LmX»
X-Auth-Token=«q7Rk2vTz9LmX»
{"auths":{"https://index.docker.io/v1/":{"auth":"«YXBwOmh1bnRlcjI=»"}}}
//registry.npmjs.org/:_authToken=«q7Rk2vTz9LmX»
curl -s -u app:«hunter2» https://api.acme.example/
RUN curl --user "app:«hunter2»" https://api.acme.example/
{"name":"DB_PASSWORD","value":"«hunter2»"},{"name":"LOG_LEVEL","value":"info"}
[{'name': 'API_TOKEN', 'value': '«q7Rk2vTz9LmX»'}, {'name': 'A', 'value': 'b'}]
{"value":"«hunter2»","name":"DB_PASSWORD"}
KeyValuePair(Name=DB_PASSWORD, Value=«hunter2»)
{Name:DB_PASSWORD Value:«hunter2»}
{\"name\":\"DB_PASSWORD\",\"value\":\"«hunter2»\"}
<property><password>«hunter2»</password><user>app</user></property>
<add key="x"/><ns:ClientSecret type="s">«q7Rk2vTz9LmX»</ns:ClientSecret>
ALTER USER app WITH PASSWORD '«hunter2»';
DB_PASSWORD=«(x9!kd»)
password is: «hunter2»
Using password "«hunter2»"
Secret value: «hunter2»
client-key-data: «LS0tLS1CRUdJTiBSU0EgUFJJVkFURSBLRVktLS0tLQ==»
mysql -u app -p«hunter2» shop
sh -c "sshpass -p «hunter2» ssh app@db.internal"
redis-cli -h cache -a «hunter2» ping
{"auth":{"user":"app","pass":"«hunter2»"}}
smtp: { user: 'app', pass: '«hunter2»' }
DB_PASSWORD=«a=b=c»
DB_PASSWORD=«ab"cd"ef»
DB_PASSWORD=«$ecr3t!»
DB_PASSWORD=«-x9kd»
DB_PASSWORD=«/x9kd/Ab+Z==»
DB_PASSWORD=«Abc.Def.123»
DB_PASSWORD=«{x9!kd}z»
DB_PASSWORD=«é9kdü»
password="«it's complicated»"
map[DB_PASSWORD:«hunter2» DB_USER:app]
[DB_USER=app, DB_PASSWORD=«hunter2»]
os.environ({'DB_PASSWORD': '«hunter2»', 'HOME': '/root'})
SecretString: {"password":"«hunter2»"}
"SecretString": "«{\"username\":\"app\",\"password\":\"hunter2\"}»"
jdbc:sqlserver://db:1433;databaseName=shop;user=sa;password=«Hunter2!»;
-H 'Authorization: Bearer «q7Rk2vTz9LmX»' https://api.acme.example
git clone https://«oauth2:»<gitlab>@gitlab.com/acme/shop.git
https://<github>@github.com/acme/shop.git
psql "host=db password='«hunt er2»' user=x"
CREATE USER 'app'@'%' IDENTIFIED BY '«hunter2»';
SyntaxError: cannot parse password='«hunter2 and what follows it on the line
invalid token: «q7Rk2vTz9LmX»
ValueError: could not use token «»<jwt>
token = Bearer «q7Rk2vTz9LmX»
error: secret: «q7Rk2vTz9LmX»
credentials: «app/hunter2»
DB_CREDENTIALS=«app/hunter2»
PRIVATE_KEY=«MIIEvQIBADANBgkq»
"privateKey": "«MIIEvQIBADANBgkq»"
passphrase: «correct horse»
ssh_passphrase="«correct horse battery»"
ADMIN_PASSWORD1=«hunter2»
dbPassword2: «hunter2»
TF_VAR_db_password=«hunter2»
config: db.password -> password=«hunter2».
password=«[redacted]hunter2»
password=«»<github>
aws configure: <aws>«:wJalrXUtnFEMI/K7MDENG/bPxRfiCYzzzzzzzzzz»
Error response from daemon: login attempt to https://acme.example/v2/ with password=«hunter2» failed
CannotPullContainerError: pull access denied for https://«app:hunter2»@registry.acme.example/shop
ResourceInitializationError: failed to download env files: https://b.s3.amazonaws.com/e?X-Amz-Signature=«9f86d0818»
CannotStartContainerError: exec: "--db-password=«hunter2»": executable file not found in $PATH
Task stopped by user with token=«q7Rk2vTz9LmX»
ContainerRuntimeError: OCI runtime create failed: container_linux.go:380: env DB_PASSWORD=«hunter2»: invalid
"""

_MANY_LINES = (
    f"cannot load\n«{_BEGIN}\n{_PEM_BODY}\n{_PEM_BODY_2}\nq7Rk2vTz9LmX\n{_END}»\nexit 1",
    f'{{"private_key":"«{_BEGIN}\\n{_PEM_BODY}\\n{_PEM_BODY_2}\\n{_END}\\n»","id":"1"}}',
    f"cannot load\n«{_BEGIN}\n{_PEM_BODY}\n{_PEM_BODY_2}»",
    f"cannot load «{_BEGIN}\\n{_PEM_BODY}\\n{_PEM_BODY_2[:20]}»",
    f"cannot load\n«{_BEGIN}\n{_PEM_BODY[:20]}»",
    f"«{_PEM_BODY}\n{_PEM_BODY_2}\nq7Rk2vTz9LmX\n{_END}»\nexit 1",
    f"key:\n«{_PEM_BODY}\n{_PEM_BODY_2}\n{_PEM_BODY[::-1]}»\nexit 1",
    f"«{_BEGIN}\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,{_HEX}\n\n{_PEM_BODY}\n{_END}»",
    f"«{_BEGIN.replace('RSA', 'OPENSSH')}\n{_PEM_BODY}\n{_END.replace('RSA', 'OPENSSH')}» bad",
    f"12:04 «{_BEGIN}\n12:04 {_PEM_BODY}\n12:04 {_PEM_BODY_2}\n12:04 {_END}»\n12:05 exit 1",
    'Traceback (most recent call last):\n  File "app.py", line 3\nValueError: password=«hunter2»',
    "user id: app\npassword: «hunter2»\nhost: db",
    "env:\nDB_HOST=db\nDB_PASSWORD=«hunter2»\nDB_NAME=shop\nPWD=/app\nAPI_TOKEN=«q7Rk2vTz9LmX»",
)

_ALIKE = r"""
CannotPullContainerError: pull image manifest has been retried 5 time(s): failed to resolve ref docker.io/acme/shop:v1.8.3: docker.io/acme/shop:v1.8.3: not found
CannotPullContainerError: inspect image has been retried 1 time(s): failed to resolve ref "123456789012.dkr.ecr.eu-west-1.amazonaws.com/shop/checkout:v1.8.3": not found
CannotPullContainerError: Error response from daemon: pull access denied for acme/shop, repository does not exist or may require 'docker login': denied: requested access to the resource is denied
CannotPullContainerError: Error response from daemon: toomanyrequests: You have reached your pull rate limit. You may increase the limit by authenticating and upgrading: https://www.docker.com/increase-rate-limit
CannotPullContainerError: failed to fetch anonymous token: unexpected status from GET request to https://auth.docker.io/token?scope=repository%3Alibrary%2Fnginx%3Apull&service=registry.docker.io: 429 Too Many Requests
CannotPullContainerError: failed to authorize: failed to fetch oauth token: unexpected status: 401 Unauthorized
CannotPullContainerError: failed to fetch anonymous token: Get "https://auth.docker.io/token": dial tcp 3.216.34.172:443: i/o timeout
CannotPullContainerError: failed to fetch oauth token: net/http: TLS handshake timeout
CannotPullContainerError: The task can’t pull the image. Check that the role has the permissions to pull images from the registry.
CannotPullContainerError: httpReaderSeeker: failed open: unexpected status code https://ghcr.io/v2/acme/shop/blobs/sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08: 403 Forbidden
toomanyrequests: too many failed login attempts for username or IP address, use an access token
ResourceInitializationError: unable to pull secrets or registry auth: execution resource retrieval failed: unable to retrieve secret from asm: service call has been retried 1 time(s): failed to fetch secret arn:aws:secretsmanager:eu-west-1:123456789012:secret:prod/db-AbCdEf from secrets manager: ResourceNotFoundException: Secrets Manager can't find the specified secret.
ResourceInitializationError: unable to pull secrets or registry auth: The task cannot pull registry auth from Amazon ECR: There is a connection issue between the task and Amazon ECR. Check your task network configuration.
ResourceInitializationError: unable to pull secrets or registry auth: execution resource retrieval failed: unable to retrieve secrets from ssm: service call has been retried 5 time(s): RequestCanceled: request context canceled caused by: context deadline exceeded
Fetching secret data from AWS Secrets Manager in region eu-west-1: secret arn:aws:secretsmanager:eu-west-1:123456789012:secret:NewRelicLicenseKeySecret-Dh2dLkgV8VyJ-80RAHS: AccessDeniedException: User: arn:aws:sts::123456789012:assumed-role/TaskExecution-1C0ODHVT4HDNT/8637b461f0f94d649e9247e2f14c3803 is not authorized to perform: secretsmanager:GetSecretValue on resource: arn:aws:secretsmanager:eu-west-1:123456789012:secret:NewRelicLicenseKeySecret-Dh2dLkgV8VyJ
Fetching secret data from SSM Parameter Store in eu-west-1: invalid parameters: /prod/checkout/db_password
retrieved secret from Secrets Manager did not contain json key password
ResourceInitializationError: failed to validate logger args: create stream has been retried 1 times: failed to create Cloudwatch log stream: ResourceNotFoundException: The specified log group does not exist. : exit status 1
ResourceInitializationError: failed to invoke EFS utils commands to set up EFS volumes: stderr: b'mount.nfs4: Connection reset by peer' : unsuccessful EFS utils command execution; code: 32
ResourceInitializationError: failed to download env files: file download command: non empty error stream: RequestCanceled
OutOfMemoryError: Container killed due to memory usage
Essential container in task exited
Scaling activity initiated by (deployment ecs-svc/5229653580561241327)
Task failed ELB health checks in (target-group arn:aws:elasticloadbalancing:eu-west-1:123456789012:targetgroup/checkout/d5df080233bcc0ac)
Task failed container health checks
(service auth-token) (deployment ecs-svc/1702860048778063437) deployment failed: tasks failed to start.
(service my-secret) was unable to place a task because no container instance met all of its requirements. Reason: RESOURCE:CPU.
(service password-reset) has started 1 tasks: (task 33eff090ad2c40539daa837e6503a9bc).
ECS was unable to assume the role 'arn:aws:iam::123456789012:role/token-service' that was provided for this task.
Unexpected EC2 error while attempting to Create Network Interface with public IP assignment enabled in subnet 'subnet-0a1b2c3d4e5f60718': InsufficientFreeAddressesInSubnet
CannotStartContainerError: Error response from daemon: failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: exec: "/app/token-server": stat /app/token-server: no such file or directory
DockerTimeoutError: Could not transition to started; timed out after waiting 3m0s
ECS deployment circuit breaker: rolling back to deploymentId ecs-svc/1702860048778063437.
(deployment ecs-svc/2420458347226626275) deployment failed: alarm detected: secret-rotation-errors
service:auth-token
family:password-service
group: service:auth-token
auth-token:42
task definition db-password:17 is INACTIVE
arn:aws:ecs:eu-west-1:123456789012:task-definition/auth-token:42
arn:aws:ecs:eu-west-1:123456789012:task/prod-web/33eff090ad2c40539daa837e6503a9bc
arn:aws:ecs:eu-west-1:123456789012:service-revision/prod-web/token/4980306466373577095
arn:aws:secretsmanager:eu-west-1:123456789012:secret:prod/checkout/db-AbCdEf:password::
arn:aws-cn:secretsmanager:cn-north-1:123456789012:secret:token-AbCdEf
arn:aws:ssm:eu-west-1:123456789012:parameter/prod/checkout/db_password
arn:aws:kms:eu-west-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab
arn:aws:iam::123456789012:role/checkout-task
AROACKCEVSQ6C2EXAMPLE:ecs-task
AIDACKCEVSQ6C2EXAMPLE is not authorized
{"name":"DB_PASSWORD","valueFrom":"arn:aws:secretsmanager:eu-west-1:123456789012:secret:prod/db-AbCdEf"}
{"name":"LOG_LEVEL","value":"info"}
{"name":"TOKEN_URL","value":"https://auth.acme.example/token"}
{"name":"DB_PASSWORD","value":""}
DB_SECRET=arn:aws:secretsmanager:eu-west-1:123456789012:secret:prod/db-AbCdEf
DB_SECRET_ARN=arn:aws:secretsmanager:eu-west-1:123456789012:secret:prod/db-AbCdEf
secret: arn:aws:secretsmanager:eu-west-1:123456789012:secret:prod/db-AbCdEf
secretName: prod/checkout/db
SECRET_NAME=prod/checkout/db
"SecretId": "prod/checkout/db"
PASSWORD_FILE=/run/secrets/db_password
DB_PASSWORD=/run/secrets/db
secret: /prod/checkout/db
token_url=https://auth.acme.example/oauth/token
token_endpoint: https://auth.acme.example/oauth/token
TOKEN_EXPIRY=3600
token_type: Bearer
"token_type":"Bearer","expires_in":3599
token_count=5
token: 5
max_tokens: 4096
tokens used: 512
tokens=512 latency=31ms
"prompt_tokens": 12, "completion_tokens": 500, "total_tokens": 512
max_new_tokens=256, eos_token=</s>, pad_token=[PAD]
bos_token: <s>
next_token=q7Rk2vTz9LmXw4Pb8NcYd3Hs6Jf
"nextToken": "eyJ2IjoyLCJjIjoiQUFBIn0"
tokenizer=bert-base-uncased
monkey=banana
monkey: 42
secretary=anna
keyboard=qwerty
keynote: 12:00
turnkey=yes
primary_key=id
partition_key=orders
foreign key: customer_id
routing_key=orders.created
cache_key=home:v3
s3_key=uploads/2026/11/23/photo.jpg
object key: reports/2026.csv
public_key=/etc/app/public.pem
key=value
sort_key: created_at
password_policy=strict
password_expires_in: 90d
password_reset_url=https://acme.example/reset
password_attempts=3
password.min.length=12
passwordEncoder: BCryptPasswordEncoder
PWD=/app
OLDPWD=/root
compass=north
bypass=1
tests passed: 12, failed: 0
pass: 12
"pass": "12"
{"msg":"Enter password: ","user":"app"}
input("Password: ")
print("token=" + repr(token))
prompt='Password: ', stream=None
pwd: expected bytes, got str
password = auth[2]
mysql -u app -p shop
mysqld: ready for connections. port: 3306
redis-cli -h cache ping
The secret value is not set
password (optional)
health check pass=true
password=
password= user=app
password: ""
password=null
password: None,
"password": null,
"password": true
password=***
password: ********
password=xxxxx
password=<redacted>
password=[redacted]
password=[redacted] and [redacted GitHub token]
password=${DB_PASSWORD}
password=$DB_PASSWORD
password: {{ db_password }}
password=%s
{"password":"[FILTERED]"}
"password": "{{resolve:secretsmanager:prod/db}}"
password: string
token: Optional[str] = None
password: required
password: must be at least 12 characters
"password": "is too short"
{"password": ["This field is required."]}
token: missing
token=expired
token: invalid or expired
token: EOF
invalid token: signature is invalid
jwt: token is expired by 3m0s
token: unexpected end of JSON input
SyntaxError: Unexpected token '<', "<!DOCTYPE "... is not valid JSON
SyntaxError: Unexpected token: punc (})
SyntaxError: Unexpected token } in JSON at position 5
parse error: illegal token: @
error: invalid token
secret not found
secret: not found
secret "prod/db" not found
Error: secret prod/checkout/db: ResourceNotFoundException: Secrets Manager can't find the specified secret.
missing credentials: could not find AWS credentials in environment
NoCredentialProviders: no valid providers in chain. Deprecated.
CredentialsProviderError: Could not load credentials from any providers
botocore.exceptions.NoCredentialsError: Unable to locate credentials
ExpiredToken: The provided token has expired.
ExpiredTokenException: The security token included in the request is expired
InvalidToken: token malformed
InvalidToken: session=ended
BadCredentials: login refused for app
UnrecognizedClientException: The security token included in the request is invalid.
InvalidClientTokenId: The security token included in the request is invalid
JsonWebTokenError: jwt malformed
TokenExpiredError: jwt expired
com.acme.InvalidTokenException: token expired
FATAL: password authentication failed for user "app"
FATAL:  password authentication failed for user "app"
psycopg2.OperationalError: connection to server at "db.internal" (10.0.3.7), port 5432 failed: FATAL:  password authentication failed for user "app"
ERROR 1045 (28000): Access denied for user 'app'@'10.0.3.7' (using password: YES)
Access denied for user 'app'@'10.0.3.7' (using password: NO)
org.postgresql.util.PSQLException: The server requested password-based authentication, but no password was provided.
WRONGPASS invalid username-password pair or user is disabled.
NOAUTH Authentication required.
KeyError: 'DB_PASSWORD'
Error: environment variable API_TOKEN is not set
pydantic.ValidationError: 1 validation error for Settings\ndb_password\n  Field required [type=missing]
  File "/app/secrets.py", line 12, in load_token
    client = Client(token=os.environ["API_TOKEN"])
    password=settings.DB_PASSWORD,
    self.password = password
    self._token = self.get_token()
    self._token = token
    token = provider.load_token(**kwargs)
    clientSecret=token["clientSecret"],
    aws_session_token=frozen_credentials.token,
    credentials = response['Credentials']
    def keep(token: re.Match[str]) -> str:
    _REQUIRED_TOKEN_FIELDS = (
    token = environ.get(token_env_var, '')
    const token = await getToken();
    password: process.env.DB_PASSWORD,
    if (token == null) throw new Error("no token");
    at Token.verify (/app/node_modules/jsonwebtoken/verify.js:42:17)
    at com.acme.security.TokenFilter.doFilter(TokenFilter.java:55)
	at org.springframework.security.crypto.password.PasswordEncoder.matches(PasswordEncoder.java:33)
token.go:55: unexpected EOF
password.js:10
app/secret.py:12: DeprecationWarning
thread 'main' panicked at src/token.rs:12:5
crate::token::Parser
o.s.s.c.password.DelegatingPasswordEncoder: no id mapped
c.a.TokenFilter : request rejected
sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
nginx@sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
nginx:1.25@sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
docker://nginx:1.25@sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
registry.acme.example:5000/shop/auth-token:v1.8.3
123456789012.dkr.ecr.eu-west-1.amazonaws.com/shop/secret:latest
ghcr.io/acme/password-service:2026.11.23
33eff090ad2c40539daa837e6503a9bc
da39a3ee5e6b4b0d3255bfef95601890afd80709
commit da39a3ee5e6b4b0d3255bfef95601890afd80709 by mika
1234abcd-12ab-34cd-56ef-1234567890ab
request id: 1234abcd-12ab-34cd-56ef-1234567890ab
X-Amzn-Trace-Id: Root=1-67891233-abcdef012345678912345678
/ecs/checkout
/ecs/token-service:ecs/app/33eff090ad2c40539daa837e6503a9bc
log group /aws/secretsmanager/rotation
ops@acme.example
mailto:ops@acme.example
contact: ops@acme.example, or https://acme.example/help
https://acme.example:8443/path?email=ops@acme.example
http://localhost:3000/users/@me
https://github.com/acme/shop/tree/main/@types
git@github.com:acme/shop.git
ssh://git@github.com/acme/shop.git
postgres://db.internal:5432/shop
postgres://app@db.internal:5432/shop
postgres://app:***@db.internal:5432/shop
postgres://${USER}:${PASSWORD}@db:5432/shop
postgres://<user>:<password>@db:5432/shop
redis://cache.internal:6379/0
dial tcp: lookup redis://cache.internal:6379
connect ECONNREFUSED http://localhost:8080
TypeError: Invalid URL: http://api:undefined
mongodb://a.internal:27017,b.internal:27017/shop?replicaSet=rs0
jdbc:postgresql://db.internal:5432/shop
jdbc:oracle:thin:@//db:1521/shop
https://b.s3.amazonaws.com/key?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Expires=900
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/secrets-envvar-secrets-manager.html
https://eu-west-1.console.aws.amazon.com/ecs/v2/clusters/prod-web/services/token?region=eu-west-1
https://hooks.slack.com/services/
https://api.slack.com/apps?sig=
WWW-Authenticate: Bearer realm="https://ghcr.io/token",service="ghcr.io",scope="repository:acme/shop:pull"
Www-Authenticate: Basic realm="acme"
Authorization: required
authorization: failed to verify
Authorization header is missing
Authorization: Bearer <token>
Bearer authentication is required
Basic authentication required
basic functionality works
cookie: expired
docker run -u 1000:1000 acme/shop
--user 1000:1000 --rm
curl -s http://localhost:8080/health
npm_config_registry=https://registry.npmjs.org
npm ERR! missing script: start
task_test_runner20261123abcdefgh
sk_live_
xoxo-kisses
region ASIA
ASIAPACIFIC
GHP_VERSION=1.2
ghp_ is the prefix of such tokens
glpat- tokens are refused
-----BEGIN CERTIFICATE-----
could not find -----BEGIN PRIVATE KEY----- in /etc/app/key.pem
-----BEGIN PUBLIC KEY-----
PEM routines:get_name:no start line: Expecting: ANY PRIVATE KEY
eyJhbGciOiJIUzI1NiJ9
secret_key_path: /etc/app/key
client_secret_id=7
credentials_provider=env
tokens_per_minute: 90000
token bucket: 10/s
rate limit token bucket=full
csrf_token_field=_csrf
secrets: 3 loaded
loaded 3 secrets from Secrets Manager
rotate secret in 30 days
The secret version stage: AWSCURRENT
password changed for user app
Please set a password: see https://acme.example/docs
enter passphrase:
Enter password: 
x-amzn-requestid: 1234abcd-12ab-34cd-56ef-1234567890ab
exit code: 137
ELB: Health checks failed with these codes: [502]
12:04:11.482 [main] INFO c.a.Shop - started in 4.2 s
{"level":"info","msg":"token refreshed","expires_in":3599}
time="2026-11-23T12:04:11Z" level=error msg="token refresh failed" attempt=3
"""

_ALIKE_MANY_LINES = (
    "-----BEGIN CERTIFICATE-----\n" + f"{_PEM_BODY}\n" * 4 + "-----END CERTIFICATE-----",
    "digests:\n" + f"{_HEX}{_HEX}\n" * 3,
    'Traceback (most recent call last):\n  File "/app/token.py", line 3, in <module>\n'
    "    raise KeyError(name)\nKeyError: 'API_TOKEN'",
)


def _with_tokens(line: str) -> str:
    return re.sub(r"<([a-z-]+)>", lambda m: f"«{TOKENS[m[1]]}»" if m[1] in TOKENS else m[0], line)


def _secret(line: str) -> Secret:
    """Of `«a»«b»`, where nothing stands between, one secret is made."""
    marked = _with_tokens(line).replace("«»", "").replace("»«", "")
    if marked.count("«") > marked.count("»"):
        marked += "»"
    return Secret(
        _PART.sub(r"\1", marked), tuple(_PART.findall(marked)), tuple(_PART.split(marked)[::2])
    )


_TOLD_TOKENS = tuple(
    _secret(around.replace("%s", f"«{token}»"))
    for around, token in product(_AROUND_TOKENS, TOKENS.values())
)
LINES = tuple(_secret(line) for line in _LINES.strip("\n").split("\n"))
SECRETS = (*LINES, *(_secret(text) for text in _MANY_LINES), *_TOLD_TOKENS)
LOOK_ALIKES = (*_ALIKE.strip("\n").split("\n"), *_ALIKE_MANY_LINES)


def leaks(secret: Secret, told: str, window: int = WINDOW) -> bool:
    """Whether what is told has so many characters of a secret in a row, as it was or escaped."""
    around = " ".join(secret.kept)
    return any(
        piece in told and piece not in around
        for hidden in secret.hidden
        for piece in _pieces(hidden.removeprefix("[redacted]"), window)
    )


def _pieces(hidden: str, window: int) -> set[str]:
    length = min(window, len(hidden))
    return {hidden[i : i + length] for i in range(len(hidden) - length + 1)}


def leaked() -> tuple[Secret, ...]:
    """The secrets of which something is told."""
    return tuple(secret for secret in SECRETS if leaks(secret, redacted(secret.text)))


def destroyed() -> tuple[str, ...]:
    """The look-alikes that do not stay as they are."""
    return tuple(text for text in LOOK_ALIKES if redacted(text) != text)


def figures() -> tuple[int, int, int, int]:
    """Secrets leaked, of how many; look-alikes destroyed, of how many."""
    return len(leaked()), len(SECRETS), len(destroyed()), len(LOOK_ALIKES)

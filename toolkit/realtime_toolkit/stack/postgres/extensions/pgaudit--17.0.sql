-- Nothing: auditing is compiled code. (`create extension` shows no notices.)
do $$ begin raise warning 'pgaudit is a stand-in of the local stack: nothing is audited'; end $$;

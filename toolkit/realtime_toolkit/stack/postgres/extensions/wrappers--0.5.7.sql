-- Nothing: a foreign data wrapper is compiled code. (`create extension` shows no notices.)
do $$ begin raise warning 'wrappers is a stand-in of the local stack: there is no foreign data wrapper in it'; end $$;
